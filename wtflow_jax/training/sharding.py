"""Training on several devices: where its arrays are placed; JAX's GSPMD does the rest.

A mesh has two axes. A batch is split over both; parameters and optimizer state are split over
``model`` alone (fully sharded data parallelism) and copied along ``data``. All parameters are
gathered at once for use. Gradients are summed whole before each device takes its part.
"""

import contextlib
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from wtflow_jax.support.errors import WTFlowError

AXES = ("data", "model")
LEAVE_SECONDS = 10
"""How long a failed process waits for the others before it ends them."""

Tree = TypeVar("Tree")
_constrained = jax.lax.with_sharding_constraint


class Layout(NamedTuple):
    """A mesh with the axes ``AXES``; None means one device, without splitting.

    Hashable, so it can be a static argument.
    """

    mesh: Mesh | None = None

    @property
    def devices(self) -> int:
        """Return the number of devices."""
        return 1 if self.mesh is None else self.mesh.size

    def _on(self, *axes: Any) -> NamedSharding:
        assert self.mesh is not None, "one device has no shardings"
        return NamedSharding(self.mesh, PartitionSpec(*axes))

    def shardings(self, tree: Any) -> Any:
        """Return the shardings of a state's arrays, each split along its last divisible axis.

        This axis is a layer's outputs, first in memory (``support.kernels``), so that gathering
        concatenates the parts.
        """

        def of(leaf: Any) -> NamedSharding:
            parts = self._on().mesh.shape["model"]
            whole = [i for i, n in enumerate(leaf.shape) if n % parts == 0]
            if parts == 1 or not whole:
                return self._on()
            return self._on(*[None] * max(whole), "model")

        return jax.tree.map(of, tree)

    def keep(self, tree: Tree) -> Tree:
        """Constrain a state, within a jitted function, to its ``shardings``."""
        return tree if self.mesh is None else _constrained(tree, self.shardings(tree))

    def gather(self, tree: Tree) -> Tree:
        """Constrain a tree, within a jitted function, to be whole on every device."""
        return tree if self.mesh is None else _constrained(tree, self._on())

    def split(self, batch: Tree) -> Tree:
        """Constrain a batch, within a jitted function, to be split over all devices."""
        return batch if self.mesh is None else _constrained(batch, self._on(AXES))

    def rows(self, batch: int) -> slice:
        """Return the slice of a batch that the devices of this process take."""
        if self.mesh is None:
            return slice(0, batch)
        parts = self._on(AXES).addressable_devices_indices_map((batch,))
        bounds = [part[0].indices(batch) for part in parts.values() if part is not None]
        return slice(min(start for start, _, _ in bounds), max(stop for _, stop, _ in bounds))

    def assemble(self, rows: np.ndarray, batch: int) -> jax.Array:
        """Return a batch split over all devices, from the rows that this process takes."""
        if self.mesh is None:
            return jax.numpy.asarray(rows)
        shape = batch, *rows.shape[1:]
        return jax.make_array_from_process_local_data(self._on(AXES), rows, shape)

    def replicate(self, tree: Any) -> Any:
        """Copy arrays to every device; they are equal in all processes or split over all."""
        if self.mesh is None:
            return jax.tree.map(jax.numpy.asarray, tree)
        return jax.device_put(tree, self._on())

    def local(self, tree: Any) -> Any:
        """Return a whole state on one device of this process; every process must call this."""
        if self.mesh is None:
            return tree
        return jax.tree.map(lambda leaf: leaf.addressable_data(0), self.replicate(tree))


LOCAL = Layout()


def first() -> bool:
    """Return whether this is the process that writes and scores."""
    return jax.process_index() == 0


def meet(where: str) -> None:
    """Wait until every process is here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(where)


@contextlib.contextmanager
def turns(where: str) -> Iterator[None]:
    """Run the body in the first process, and then in the others, which find its results."""
    if not first():
        meet(where)
    yield
    if first():
        meet(where)


def as_the_first(value: bool) -> bool:
    """Return the first process's value, in every process."""
    if jax.process_count() == 1:
        return value
    return bool(multihost_utils.broadcast_one_to_all(np.array(value)))


def agree(flags: Mapping[str, object]) -> None:
    """Raise WTFlowError in all processes if their flags, by name, differ."""
    digests = [zlib.crc32(repr(value).encode()) for value in flags.values()]
    found = multihost_utils.process_allgather(np.array(digests, np.uint32))
    names = [
        f"--{name.replace('_', '-')}"
        for name, column in zip(flags, found.reshape(-1, len(flags)).T, strict=True)
        if len(set(column)) > 1
    ]
    if names:
        raise WTFlowError(f"{', '.join(names)}: must be the same in all processes")


def layout(data: int, model: int) -> Layout:
    """Return a mesh of all devices; raise WTFlowError unless there are ``data``·``model``.

    The state is copied along ``data`` devices and split over ``model`` devices.
    """
    if data * model == 1 == jax.process_count():
        return LOCAL
    devices = jax.devices()
    if data * model != len(devices):
        raise WTFlowError(
            f"--mesh {data} {model}: takes {data * model} devices, there are {len(devices)}"
        )
    return Layout(Mesh(np.array(devices).reshape(data, model), AXES))


def connect(coordinator: str, processes: int, process: int) -> None:
    """Connect the processes of a run, before JAX uses a device; raise WTFlowError on failure.

    The coordinator is host:port of process 0, the same in all processes. "auto" takes it, the
    number of processes and the number of this one (from 0) from SLURM, Open MPI or Kubernetes.
    """
    # The service would keep SIGTERM from ending a run.
    jax.config.update("jax_enable_preemption_service", False)
    given: tuple[Any, ...] = () if coordinator == "auto" else (coordinator, processes, process)
    try:
        jax.distributed.initialize(*given, shutdown_timeout_seconds=LEAVE_SECONDS)
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise WTFlowError(f"--coordinator {coordinator}: cannot connect ({reason})") from error
