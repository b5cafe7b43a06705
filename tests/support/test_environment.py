"""Versions, the device, and the memory that a process may take."""

import os

import jax

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
