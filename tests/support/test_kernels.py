"""Kernels laid out as a GPU reads them: the same numbers, also from a checkpoint."""

import jax
import numpy as np
import pytest

from wtflow_jax.support import kernels
from wtflow_jax.training import state as training
from wtflow_jax.training.checkpoint import Checkpoints
from wtflow_jax.training.schedule import BEGINNING
from wtflow_jax.velocities.patch import Patch
from wtflow_jax.velocities.unet import UNet

X0 = jax.random.normal(jax.random.key(1), (4, 4, 4, 8))
ORDER = np.array([[0, 1], [2, 3]], np.int32)


def layouts(tree):
    return {leaf.format.layout.major_to_minor for leaf in jax.tree.leaves(tree) if leaf.ndim == 4}


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    monkeypatch.setattr(kernels, "PLATFORMS", ("cpu",))


def convolution(params, t, x):
    axes = "NHWC", "HWIO", "NHWC"
    kernel = params["kernel"]
    y = jax.lax.conv_general_dilated(x[None], kernel, (1, 1), "SAME", dimension_numbers=axes)
    return t * y[0]


def trained():
    objective = training.Objective(convolution)
    kernel = jax.random.normal(jax.random.key(0), (3, 3, 8, 8))
    state = training.init_state(objective, {"kernel": kernel})
    *_, (state, losses) = training.steps(objective, state, X0, ORDER, jax.random.key(2))
    return state, losses


def test_training_leaves_them_so_and_changes_no_number(monkeypatch, tmp_path):
    # So that steps are one compiled loop.
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    plain, losses = trained()
    assert layouts(plain) == {(0, 1, 2, 3)}
    monkeypatch.setattr(kernels, "PLATFORMS", ("cpu",))
    state, same = trained()
    assert layouts(state) == {(3, 0, 1, 2)}
    assert same == losses
    for ours, theirs in zip(jax.tree.leaves(state), jax.tree.leaves(plain), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, [{"loss": 1.0}], BEGINNING)
        checkpoints.manager.wait_until_finished()
        found = checkpoints.restore(state)
    assert found is not None
    for ours, theirs in zip(jax.tree.leaves(found.state), jax.tree.leaves(plain), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.usefixtures("as_on_a_gpu")
def test_parameters_of_inference():
    network = UNet(8, precision="bfloat16")
    shapes = jax.eval_shape(network.init, jax.random.key(0), X0)
    params = jax.tree.map(lambda leaf: jax.numpy.zeros(leaf.shape, leaf.dtype), shapes)
    rounded = network.rounded(params)
    assert layouts(rounded) == {(3, 0, 1, 2)}
    assert layouts(params) == {(0, 1, 2, 3)}


@pytest.mark.parametrize(
    ("precision", "capability", "lying"),
    [
        ("float32", 8.6, (3, 2, 0, 1)),
        ("bfloat16", 8.6, (3, 0, 1, 2)),
        ("float32", 9.0, (3, 0, 1, 2)),
        ("float32", 10.0, (3, 0, 1, 2)),
    ],
)
def test_it_is_what_xla_chooses(precision, capability, lying):
    """By benchmarks/gpu_compile.py, which compiles for these cards."""
    assert kernels.order(precision, capability).major_to_minor == lying


@pytest.mark.usefixtures("as_on_a_gpu")
def test_what_is_no_kernel_stays():
    tree = {"a": np.ones((2, 2, 2, 2)), "b": jax.numpy.ones((3, 3))}
    assert kernels.laid_out(tree)["a"] is tree["a"]
    assert kernels.laid_out(tree)["b"] is tree["b"]
    # A network of patches has no convolution.
    shapes = jax.eval_shape(Patch(8).init, jax.random.key(0), X0)
    assert all(leaf.ndim < 4 for leaf in jax.tree.leaves(Patch(8).rounded(shapes)))
    # Nothing is done twice, and what may be deleted is.
    kernel = jax.numpy.ones((3, 3, 8, 8))
    lying = kernels.laid_out(kernel, donate=True)
    assert kernel.is_deleted()
    assert kernels.laid_out(lying, donate=True) is lying
    traced = jax.eval_shape(lambda: kernels.laid_out(X0))
    assert traced.shape == X0.shape
