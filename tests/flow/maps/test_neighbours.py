"""Neighbours of positions, against SciPy's convolution."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import convolve1d

from wtflow_jax.flow.maps.neighbours import neighbours


@pytest.mark.parametrize("spacing", [1, 5])
@pytest.mark.parametrize("grid", [(4, 6), (1, 3), (2, 2)])
def test_a_blend_is_a_convolution(grid, spacing):
    """Beyond an edge the position at the edge is repeated; only what is needed is asked for."""
    x = np.random.default_rng(0).normal(size=(*grid, 3, 3)).astype(np.float32)
    found = neighbours(grid, 0.2, spacing)
    needed = jnp.asarray(x.reshape(-1, 3, 3)[found.needed])
    blended = np.stack([found.blend(needed, of) for of in jnp.asarray(found.of)])
    for axis in (0, 1):
        x = convolve1d(x, [0.2, 0.6, 0.2], axis=axis, mode="nearest")
    np.testing.assert_allclose(blended, x.reshape(-1, 3, 3)[::spacing], atol=1e-6)
    np.testing.assert_array_equal(found.needed[found.own], np.arange(0, np.prod(grid), spacing))
