"""Velocities of feature maps, chosen by name: networks and closed-form fields.

Each gives a ``velocity_fn(params, t, x) -> v`` of one map (h, w, c), and its first parameters.
"""

from typing import Any, ClassVar, TypeAlias

from wtflow_jax.flow.maps import WTMap
from wtflow_jax.flow.types import Params, PRNGKey, VelocityFn
from wtflow_jax.support.parts import Parts

Shaped: TypeAlias = Any
"""Training maps x0, or an object with their ``shape`` (n, h, w, c)."""


class Velocity:
    """A velocity on maps; a frozen dataclass whose fields are its options."""

    trained: ClassVar[bool] = True  #: False if nothing is trained
    reads_x0: ClassVar[bool] = False  #: whether ``init`` needs the values of x0, not just its shape
    any_target: ClassVar[bool] = True  #: whether x1 may follow another law than the Gaussian
    singular: ClassVar[bool] = False  #: whether it has no value at t = 0

    def velocity_fn(self) -> VelocityFn:
        """Return ``velocity_fn(params, t, x) -> v``; the same object for the same options."""
        raise NotImplementedError

    def portable(self) -> VelocityFn | None:
        """Return the field without loops, for converters to other formats; None if impossible."""
        return self.velocity_fn()

    def init(self, key: PRNGKey, x0: Shaped) -> Params:
        """Return the first parameters of a network, or the data of a closed-form field.

        ``key`` is for random draws. A network needs only the shape of training maps x0
        (n, h, w, c).
        """
        raise NotImplementedError

    def rounded(self, params: Params) -> Params:
        """Return parameters in the precision of computation; scores do not change."""
        return params

    def usual(self, wt: WTMap) -> dict[str, Any]:
        """Return the defaults of other flags for this velocity."""
        return {}


VELOCITIES: Parts[Velocity] = Parts("velocity", "wtflow_jax.velocities")
"""Velocities by name."""
