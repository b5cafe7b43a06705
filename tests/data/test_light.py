"""Training images in more and in less light."""

import jax.numpy as jnp
import numpy as np
import pytest

from wtflow_jax.data.light import factors, lit
from wtflow_jax.detector import detector, route
from wtflow_jax.detector.config import configure


@pytest.mark.parametrize("count", [1, 7, 64, 209])
def test_factors_are_within_the_jitter_and_evenly_spread(count):
    found = factors(count, 0.15)
    assert np.abs(found - 1).max() <= 0.15
    other = found[found != 1]
    assert len(other) == min(count, 64)
    # The largest gap is less than three times that of equal steps.
    ends = np.concatenate([[0.85], np.sort(other), [1.15]])
    assert np.diff(ends).max() < 3 * 0.3 / len(other)
    # Every part of the images has its share.
    assert np.diff(np.flatnonzero(found != 1), append=count).max() <= -(-count // len(other))
    np.testing.assert_array_equal(factors(count, 0.0), 1)


def test_an_image_is_multiplied_rounded_and_clipped():
    image = np.array([[[0, 100, 255]]], np.uint8)
    np.testing.assert_array_equal(lit(image, 0.85), [[[0, 85, 217]]])
    np.testing.assert_array_equal(lit(image, 1.15), [[[0, 115, 255]]])
    np.testing.assert_array_equal(lit(image, 1.0), image)


def test_a_darker_photograph_of_a_good_part_is_no_defect():
    """Parts that differ in noise alone; the map is fitted with and without jitter."""
    rng = np.random.default_rng(0)
    part = rng.uniform(60, 180, (1, 4, 4, 8))

    def photographs(count, light):
        found = part * light + rng.normal(0, 2, (count, 4, 4, 8))
        return np.asarray(found, np.float32)

    config = configure(preset="auto", by_kind=False, by_stage=False, power=1.0)

    def mean_score(light):
        maps = photographs(60, np.reshape(light, (-1, 1, 1, 1)))
        fitted = detector.fit(config, jnp.asarray(maps))
        return float(route.cells(fitted, photographs(20, 0.9)).detection.mean())

    good = mean_score(1.0)
    assert mean_score(factors(60, 0.15)) < good - 0.05


def test_presets_that_train_nothing_ask_for_it():
    assert configure(preset="auto").features.jitter == 0.15
    assert configure(preset="fine").features.jitter == 0.15
    assert configure(preset="small").features.jitter == 0
    assert configure(preset="auto", jitter=0.0).features.jitter == 0
