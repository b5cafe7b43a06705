"""No velocity: the endpoint is x0, whatever the solver and its steps."""

import jax.numpy as jnp
import numpy as np
import pytest

from wtflow_jax.detector import detector, route
from wtflow_jax.detector.config import configure
from wtflow_jax.flow.scores import log_density


@pytest.mark.parametrize("steps", [1, 3])
def test_the_score_is_that_of_the_map(steps):
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(12, 2, 3, 8)).astype(np.float32)
    asked = {"velocity": "none", "wt": "whiten", "score": "log_density", "steps_det": steps}
    fitted = detector.fit(configure(**asked), jnp.asarray(maps))
    found = route.cells(fitted, maps)
    wanted = log_density(fitted.x0(jnp.asarray(maps)))
    np.testing.assert_allclose(found.detection, wanted, rtol=1e-6)
    np.testing.assert_allclose(found.localization, wanted, rtol=1e-6)
