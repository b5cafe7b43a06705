"""A velocity on feature maps with nothing to train: the exact field of a mixture of Gaussians.

Each position's feature vector is one sample, either of one mixture for all positions or of its own
position's mixture. The components are the clusters that scikit-learn's k-means finds.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from sklearn.cluster import KMeans

from wtflow_jax.flow.types import Params, PRNGKey, Time, VelocityFn
from wtflow_jax.geometry.gaussian import Gaussian
from wtflow_jax.geometry.mixture import GROUPS, Mixture, mixture_velocity, of_responsibilities
from wtflow_jax.velocities import VELOCITIES, Shaped, Velocity
from wtflow_jax.velocities.gaussian import LowRank

Map = Float[Array, "h w c"]

PATCHES = 12_000
"""Maximum number of training patches, drawn at random, to fit one mixture for all positions."""


def _field(own: bool, params: Params, t: Time, x: Map) -> Map:
    law = Mixture(params["log_weights"], Gaussian(**params["parts"]))
    every = jax.vmap(mixture_velocity, (GROUPS if own else None, None, 0))
    return every(law, t, x.reshape(-1, x.shape[-1])).reshape(x.shape)


def _of_one_group(arrays: Params) -> Params:
    """Return the law of the only group, without the axis of groups."""
    parts = arrays["parts"]
    own = {name: parts[name][0] for name in ("mean", "basis", "excess")}
    return {"log_weights": arrays["log_weights"][0], "parts": parts | own}


_FIELDS = {own: partial(_field, own) for own in (False, True)}


@dataclass(frozen=True)
class Components(Velocity):
    """Options of a mixture besides those of its Gaussians."""

    components: int = 16
    """Gaussians in a mixture; at most the number of vectors."""
    per_position: bool = False
    """Fit a mixture for each position, instead of one for all positions."""


@VELOCITIES.add("mixture")
@dataclass(frozen=True)
class MixtureField(LowRank, Components):
    """The exact field of a mixture of Gaussians."""

    RANGES: ClassVar = {**LowRank.RANGES, "components": (1, None)}

    def velocity_fn(self) -> VelocityFn:
        """Return the field; its parameters are the arrays of a ``geometry.Mixture``, by name."""
        return _FIELDS[self.per_position]

    def init(self, key: PRNGKey, x0: Shaped) -> Params:
        """Return the law of maps x0 (n, h, w, c)."""
        vectors = jnp.reshape(x0, (x0.shape[0], -1, x0.shape[-1]))
        if self.per_position:
            groups = jnp.swapaxes(vectors, 0, 1)
        else:
            rows = vectors.reshape(-1, x0.shape[-1])
            kept = min(PATCHES, len(rows))
            groups = jax.random.choice(key, rows, (1, kept), replace=False)
        seed = int(jax.random.randint(key, (), 0, 2**31 - 1))
        k = min(self.components, groups.shape[1])
        means = KMeans(k, n_init="auto", random_state=seed)
        labels = np.stack([means.fit_predict(part) for part in np.asarray(groups)])
        share = jax.nn.one_hot(labels, k)
        law = of_responsibilities(groups, share, self.shrinkage, self.directions)
        arrays = {"log_weights": law.log_weights, "parts": law.parts._asdict()}
        return arrays if self.per_position else _of_one_group(arrays)
