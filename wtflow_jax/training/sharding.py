"""Several devices: where the parts of training live, and JAX's own GSPMD does the rest.

A mesh has two axes. A batch is split over both; parameters and optimizer state are split over
``model`` alone (fully sharded data parallelism) and copied along ``data``. Parameters are gathered
where they are used, all of them at once, and gradients are summed whole before each device takes
its part.
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
"""How long a process that failed waits for the others before it ends them."""

Tree = TypeVar("Tree")
_constrained = jax.lax.with_sharding_constraint


class Layout(NamedTuple):
    """A mesh with the axes ``AXES``, or None: one device, where nothing is split.

    Hashable, a static argument.
    """

    mesh: Mesh | None = None

    @property
    def devices(self) -> int:
        """Return how many devices there are."""
        return 1 if self.mesh is None else self.mesh.size

    def _on(self, *axes: Any) -> NamedSharding:
        assert self.mesh is not None, "one device has no shardings"
        return NamedSharding(self.mesh, PartitionSpec(*axes))

    def shardings(self, tree: Any) -> Any:
        """Return where a mesh keeps the arrays of a state: split along the last axis it can.

        That are a layer's outputs, first in memory (``support.kernels``): parts are put together by
        laying them one behind the other.
        """

        def of(leaf: Any) -> NamedSharding:
            parts = self._on().mesh.shape["model"]
            whole = [i for i, n in enumerate(leaf.shape) if n % parts == 0]
            if parts == 1 or not whole:
                return self._on()
            return self._on(*[None] * max(whole), "model")

        return jax.tree.map(of, tree)

    def keep(self, tree: Tree) -> Tree:
        """Say, within a jitted function, that a state is split as ``shardings`` has it."""
        return tree if self.mesh is None else _constrained(tree, self.shardings(tree))

    def gather(self, tree: Tree) -> Tree:
        """Say, within a jitted function, that every device has the whole of it."""
        return tree if self.mesh is None else _constrained(tree, self._on())

    def split(self, batch: Tree) -> Tree:
        """Say, within a jitted function, that a batch is split over all devices."""
        return batch if self.mesh is None else _constrained(batch, self._on(AXES))

    def rows(self, batch: int) -> slice:
        """Return which samples of a batch the devices of this process take, one after another."""
        if self.mesh is None:
            return slice(0, batch)
        parts = self._on(AXES).addressable_devices_indices_map((batch,))
        bounds = [part[0].indices(batch) for part in parts.values() if part is not None]
        return slice(min(start for start, _, _ in bounds), max(stop for _, stop, _ in bounds))

    def assemble(self, rows: np.ndarray, batch: int) -> jax.Array:
        """Return a batch split over all devices, of the rows that this process takes."""
        if self.mesh is None:
            return jax.numpy.asarray(rows)
        shape = batch, *rows.shape[1:]
        return jax.make_array_from_process_local_data(self._on(AXES), rows, shape)

    def replicate(self, tree: Any) -> Any:
        """Return arrays, the same in every process or split over all, as every device's own."""
        if self.mesh is None:
            return jax.tree.map(jax.numpy.asarray, tree)
        return jax.device_put(tree, self._on())

    def local(self, tree: Any) -> Any:
        """Return a state whole, on one device of this process; every process must call it."""
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
    """Let the first process go ahead, and the others find what it has done."""
    if not first():
        meet(where)
    yield
    if first():
        meet(where)


def as_the_first(value: bool) -> bool:
    """Return what the first process found."""
    if jax.process_count() == 1:
        return value
    return bool(multihost_utils.broadcast_one_to_all(np.array(value)))


def agree(flags: Mapping[str, object]) -> None:
    """Raise WTFlowError in all processes of a run where one was given other flags, by name."""
    digests = [zlib.crc32(repr(value).encode()) for value in flags.values()]
    found = multihost_utils.process_allgather(np.array(digests, np.uint32))
    names = [
        f"--{name.replace('_', '-')}"
        for name, column in zip(flags, found.reshape(-1, len(flags)).T, strict=True)
        if len(set(column)) > 1
    ]
    if names:
        raise WTFlowError(f"{', '.join(names)}: not the same in all processes; give all the same")


def layout(data: int, model: int) -> Layout:
    """Return a mesh of all devices; WTFlowError where there are more or fewer.

    The state is copied along ``data`` devices and split over ``model``.
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
    """Join the processes of a run, before JAX touches a device; WTFlowError if they do not meet.

    The coordinator is host:port of process 0, the same in all; "auto" asks SLURM, Open MPI or
    Kubernetes for it, for the number of processes and for which one this is, from 0.
    """
    # It would keep a run from ending by SIGTERM.
    jax.config.update("jax_enable_preemption_service", False)
    given: tuple[Any, ...] = () if coordinator == "auto" else (coordinator, processes, process)
    try:
        jax.distributed.initialize(*given, shutdown_timeout_seconds=LEAVE_SECONDS)
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise WTFlowError(f"--coordinator {coordinator}: cannot be joined ({reason})") from error
