"""Velocities of feature maps that can be chosen by name: networks, and fields in closed form.

Each is a ``velocity_fn(params, t, x) -> v`` of one map (h, w, c), and its first parameters.
"""

from typing import Any, ClassVar, TypeAlias

from wtflow_jax.flow.maps import WTMap
from wtflow_jax.flow.types import Params, PRNGKey, VelocityFn
from wtflow_jax.support.parts import Parts

Shaped: TypeAlias = Any
"""Training maps x0, or something else that has their ``shape`` (n, h, w, c)."""


class Velocity:
    """A velocity on maps; a frozen dataclass whose fields are its options."""

    trained: ClassVar[bool] = True  #: False for closed forms
    reads_x0: ClassVar[bool] = False  #: whether ``init`` needs the values of x0, not just its shape
    any_target: ClassVar[bool] = True  #: whether x1 may come from another law than the Gaussian
    singular: ClassVar[bool] = False  #: at t = 0, where it has no value then

    def velocity_fn(self) -> VelocityFn:
        """Return ``velocity_fn(params, t, x) -> v``; the same object for the same options."""
        raise NotImplementedError

    def portable(self) -> VelocityFn | None:
        """Return the same without loops, for converters to other formats; None: it has no such."""
        return self.velocity_fn()

    def init(self, key: PRNGKey, x0: Shaped) -> Params:
        """Return the first parameters of a network, or the data of a field in closed form.

        ``key`` decides them; of a network the shape of training maps x0 (n, h, w, c) is enough.
        """
        raise NotImplementedError

    def rounded(self, params: Params) -> Params:
        """Return parameters as they are computed with, which changes no score."""
        return params

    def usual(self, wt: WTMap) -> dict[str, Any]:
        """Return the defaults of other flags that go with it."""
        return {}


VELOCITIES: Parts[Velocity] = Parts("velocity", "wtflow_jax.velocities")
"""By name."""
