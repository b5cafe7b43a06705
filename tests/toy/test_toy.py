"""The toy figures: fields against closed forms, and the figures' claims."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import coupling
import family
import four_modes
import outliers
import plane
import potential
import ring_flow
import singularity
from wtflow_jax.flow import ode
from wtflow_jax.geometry.empirical import empirical_velocity
from wtflow_jax.geometry.lipschitz import lipschitz_bound, lipschitz_profile


def test_the_exact_ring_field_is_the_mean_velocity_of_what_passes_by():
    rng = np.random.default_rng(0)
    sigma, t, x = 0.4, 0.5, np.array([0.3, 0.5], np.float32)
    x0 = np.array(ring_flow.MEAN) + sigma * rng.normal(size=(2_000_000, 2))
    angle = rng.uniform(0, 2 * np.pi, len(x0))
    x1 = ring_flow.RADIUS * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    passing = np.linalg.norm((1 - t) * x0 + t * x1 - x, axis=1) < 0.02
    expected = (x1 - x0)[passing]
    error = expected.std(0) / np.sqrt(passing.sum())
    u = ring_flow.exact_velocity(ring_flow.exact_params(sigma), jnp.float32(t), jnp.asarray(x))
    assert (np.abs(u - expected.mean(0)) < 5 * error + 0.01).all()


def test_every_point_of_the_exact_flow_falls_first_and_reaches_the_ring():
    x0 = jnp.array(ring_flow.MEAN) + 0.2 * jax.random.normal(jax.random.key(3), (40, 2))
    paths = ode.trajectory(ring_flow.exact_velocity, ring_flow.exact_params(0.2), x0)
    assert ring_flow.turns(np.asarray(paths)).all()
    np.testing.assert_allclose(jnp.linalg.norm(paths[:, -1], axis=1), ring_flow.RADIUS, rtol=0.01)


@pytest.mark.long
def test_a_trained_field_turns_points_inwards_first():
    data = jnp.array(ring_flow.MEAN) + 0.2 * jax.random.normal(jax.random.key(0), (2048, 2))
    (params,) = plane.fit(data, plane.ring(ring_flow.RADIUS), (200,))
    radius = np.linalg.norm(ode.trajectory(plane.velocity_fn, params, data[:200]), axis=-1)
    mean = radius.mean(axis=0)
    assert 0 < int(np.argmin(mean)) < 50
    assert mean.min() < 0.97 * mean[0]
    assert mean[-1] > 1.3 * mean[0]


@pytest.mark.long
def test_the_potential_is_minus_the_distance():
    result = potential.compute(smoke=True)
    for values in result.measured.values():
        np.testing.assert_allclose(values, -result.distances, atol=6 * result.deviation)


def test_couplings_average_to_minus_x():
    result = coupling.compute(smoke=False)
    velocity = (result.targets - np.array(coupling.POINT)).mean(axis=0)
    np.testing.assert_allclose(velocity, -np.array(coupling.POINT), atol=0.15)
    assert result.norms["none"].max() < 0.5
    np.testing.assert_allclose(result.norms["layer_norm"], 1, atol=0.01)


def test_layer_norm_of_the_plane_is_two_points():
    data = four_modes.modes(jax.random.key(0), 100, 5.0)
    mapped = np.asarray(four_modes.mapped("layer_norm", data))
    # Short of it where ε counts, close to the diagonal.
    np.testing.assert_allclose(np.abs(mapped), four_modes.RADIUS / np.sqrt(2), rtol=0.1)
    np.testing.assert_allclose(mapped.sum(axis=1), 0, atol=1e-4)


@pytest.mark.long
def test_disjoint_outliers_are_found_and_overlapping_ones_are_not():
    panels = {panel.kind: panel for panel in outliers.compute(smoke=True) if panel.field == "exact"}
    found = {kind: outliers.auroc(panel)[0] for kind, panel in panels.items()}
    assert found["disjoint"] > 0.99
    assert found["disjoint"] > found["intersecting"] > found["overlapping"]
    assert found["overlapping"] < 0.5


def test_the_exact_field_of_data_in_the_cube_keeps_the_bound():
    data = singularity.curve(jax.random.key(0), 100, 8)
    assert float(data.min()) >= 0
    assert float(data.max()) <= 1
    times = jnp.array([0.01, 0.1, 0.5])
    profile = lipschitz_profile(empirical_velocity, data, data[:6], times, jax.random.key(1))
    assert (profile.space <= 1.001 * lipschitz_bound(times, 8)[:, None]).all()
    # No less steep than 1/t at first.
    assert float(profile.space[0].max()) >= 99


@pytest.mark.long
@pytest.mark.parametrize("module", [ring_flow, potential, coupling, four_modes, outliers])
def test_figures_are_drawn(module):
    result = module.compute(smoke=True)
    assert module.summary(result)
    assert len(plane.png(module.plot(result))) > 5_000


def test_the_moving_picture(tmp_path):
    ring_flow.animate(0.2, tmp_path / "ring.gif", frames=3)
    assert (tmp_path / "ring.gif").read_bytes()[:4] == b"GIF8"


@pytest.mark.long
def test_the_family_is_what_it_claims():
    result = family.compute(smoke=True)
    assert len(result.errors) == 5
    assert max(result.errors.values()) < 1e-3
    np.testing.assert_allclose(*result.radii, rtol=0.03)
