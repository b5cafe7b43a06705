"""Versions, the device, and the memory that a process may take."""

import os

import jax
import pytest

import wtflow_jax
from wtflow_jax.support import environment


def test_versions_and_device():
    found = environment.environment()
    assert found["versions"]["wtflow-jax"] == wtflow_jax.__version__
    assert found["versions"]["jax"] == jax.__version__
    assert found["device"].startswith("cpu: ")


def test_memory_is_no_more_than_the_machine_has():
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < environment.memory() <= machine


def test_settings_that_stop_a_program_are_named(monkeypatch):
    assert environment.setting(ValueError("a bug")) == ""
    with jax.numpy_dtype_promotion("strict"), pytest.raises(ValueError, match="promotion") as found:
        jax.numpy.ones(2) * jax.numpy.arange(2)
    assert environment.setting(found.value).startswith("JAX_NUMPY_DTYPE_PROMOTION=strict: ")

    def no_devices():
        raise RuntimeError("Unable to initialize\nbackend 'cuda'")

    monkeypatch.setattr(jax, "devices", no_devices)
    said = environment.setting(AssertionError())
    assert "Unable to initialize backend 'cuda'; unset it, or give cpu" in said
