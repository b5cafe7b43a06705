"""Couplings of a minibatch: the cheapest assignment, and the loss of coupled pairs."""

from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np

from wtflow_jax.flow import couplings, loss

RNG = np.random.default_rng(0)
X0, X1 = (jnp.asarray(RNG.normal(size=(5, 2, 3)), jnp.float32) for _ in range(2))


def cost(x0, x1):
    return float(np.sum(np.square(x0 - x1)))


def test_the_optimal_one_is_the_cheapest_of_all_orders():
    found = couplings.optimal(X0, X1)
    costs = [cost(X0, X1[jnp.array(order)]) for order in permutations(range(5))]
    assert abs(cost(X0, found) - min(costs)) < 1e-4
    rows = {tuple(x.ravel().tolist()) for x in np.asarray(found)}
    assert rows == {tuple(x.ravel().tolist()) for x in np.asarray(X1)}


def test_a_batch_of_one_and_one_that_is_paired_already():
    np.testing.assert_array_equal(couplings.optimal(X0[:1], X1[:1]), X1[:1])
    np.testing.assert_array_equal(couplings.optimal(X0, X0), X0)


def zero(params, t, x):
    return params * jnp.zeros_like(x)


def test_the_loss_is_of_the_pairs():
    """Of v = 0 it is the mean square of x1 − x0: least for the cheapest assignment."""
    key = jax.random.key(0)
    found = {
        name: float(loss.rfm_loss(zero, jnp.float32(1), X0, key, coupling=name))
        for name in couplings.COUPLINGS
    }
    assert found["optimal"] < found["independent"]
    drawn = loss.rfm_loss(zero, jnp.float32(1), X0, key, target=lambda key, shape: X1[0])
    same = loss.rfm_loss(
        zero, jnp.float32(1), X0, key, target=lambda key, shape: X1[0], coupling="optimal"
    )
    np.testing.assert_allclose(same, drawn, rtol=1e-6)


def test_its_gradient_is_that_of_the_pairs():
    def of(params):
        return loss.rfm_loss(
            lambda p, t, x: p * x, params, X0, jax.random.key(0), coupling="optimal"
        )

    step = 1e-2
    expected = (of(jnp.float32(0.5 + step)) - of(jnp.float32(0.5 - step))) / (2 * step)
    np.testing.assert_allclose(jax.grad(of)(jnp.float32(0.5)), expected, rtol=1e-2)
