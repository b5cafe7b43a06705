"""WT maps: the plain norm applied to features before coupling (Algorithm 1, line 2; Sec. III-D).

A map is two pure functions: ``fit(features) -> stats`` on the training features, once, and
``apply(stats, features) -> x0`` in training and in inference alike. Statistics travel as arguments.
A WT map is not a norm layer in front of the network: it moves the data themselves (Table XI).
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, TypeAlias

import jax.numpy as jnp

from wtflow_jax.flow.types import Samples
from wtflow_jax.support.parts import Parts

Stats: TypeAlias = Any
"""Fitted statistics of a map: a pytree of arrays, empty if it fits nothing."""


class WTMap:
    """A worst-transport map; a frozen dataclass whose fields are its options."""

    #: Whether x0 has identity covariance at each position: x_t leaves the data at small t.
    isotropic: ClassVar[bool] = False
    position: ClassVar[bool] = True  #: whether the paper's best row has the embedding (Table IV)
    streams: ClassVar[bool] = False  #: whether ``fit_batches`` fits features larger than memory
    channels: tuple[int, ...] = ()  #: of each stage, if stages are mapped and scored separately
    kind: ClassVar[Any] = dict  #: type that ``fit`` returns; takes arrays by name

    def fit(self, features: Samples) -> Stats:
        """Return the statistics of training features (n, *event)."""
        return ()

    def fit_like(self, stats: Stats, features: Samples) -> Stats:
        """Fit fewer samples (n, *event) with the choices that ``fit`` made on all samples."""
        return self.fit(features)

    def fit_batches(self, batches: Iterable[Samples]) -> Stats:
        """Return the statistics of training features that come in batches (n, *event)."""
        return ()

    def apply(self, stats: Stats, features: Samples) -> Samples:
        """Return x0 (n, *event) of features (n, *event)."""
        raise NotImplementedError

    def choice(self, stats: Stats) -> str:
        """Return in a few words what ``fit`` chose by itself; empty if it chose nothing."""
        return ""

    def restore(self, arrays: Mapping[str, Any]) -> Stats:
        """Return the statistics that ``fit`` returned, from their saved arrays by name."""
        return self.kind(**arrays) if arrays else ()


MAPS: Parts[WTMap] = Parts("wt", "wtflow_jax.flow.maps")
"""WT maps by name."""


def power(features: Samples, exponent: float) -> Samples:
    """Return sign(f)·|f|^exponent of each element of features (n, *event), exponent above 0.

    Applied before a map: rectified features are sparse with a long tail, and no affine map shortens
    it; a square root does (power normalization: Perronnin, Sánchez, Mensink, ECCV 2010).
    """
    return features if exponent == 1 else jnp.sign(features) * jnp.abs(features) ** exponent
