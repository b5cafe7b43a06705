"""Velocities with closed forms."""

import jax.numpy as jnp


def gaussian_velocity(params, t, x):
    """Exact marginal velocity for data N(mean, scale² I) and target N(0, I).

    x_t is Gaussian with mean (1 − t)·mean and variance (1 − t)²·scale² + t², and a flow that maps
    Gaussians affinely has v = m' + (s'/s)(x − m).
    """
    mean, scale = params["mean"], params["scale"]
    m, variance = (1 - t) * mean, (1 - t) ** 2 * scale**2 + t**2
    half_derivative = -(1 - t) * scale**2 + t
    return -mean + half_derivative / variance * (x - m)


def gaussian_endpoint(params, x0):
    """The endpoint of that flow from x0: the standardized sample."""
    return (x0 - params["mean"]) / params["scale"]


def linear_velocity(params, t, x):
    """v = a·x + b·t: reversible, and depends on time."""
    return params["a"] * x + params["b"] * t


def inwards(params, t, x):
    """v = −x: towards the origin."""
    return -x


def pendulum(params, t, x):
    """Nonlinear and time-dependent: no solver exceeds its order on it."""
    return jnp.sin(2 * x + t) - t * x


PARAMS = {"mean": jnp.array([1.0, -2.0, 0.5]), "scale": jnp.array(0.7)}
