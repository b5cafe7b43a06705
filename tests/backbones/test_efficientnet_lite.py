"""EfficientNet-Lite's depthwise convolutions in the words that other programs read."""

import jax.numpy as jnp
import numpy as np
import pytest

from wtflow_jax.backbones import efficientnet_lite


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 2), (3, 2)])
def test_depthwise_convolutions_in_groups(kernel, stride):
    draw = np.random.default_rng(0)
    conv = {
        "weight": jnp.asarray(draw.normal(size=(kernel, kernel, 1, 4)), jnp.float32),
        "bias": jnp.asarray(draw.normal(size=4), jnp.float32),
    }
    x = jnp.asarray(draw.normal(size=(2, 8, 11, 4)), jnp.float32)
    expected = efficientnet_lite._depthwise(conv, x, stride)
    np.testing.assert_allclose(efficientnet_lite.grouped(conv, x, stride), expected, atol=1e-5)
