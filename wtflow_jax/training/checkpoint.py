"""Checkpoints of a run in progress, by Orbax: the last two that were saved."""

import contextlib
import errno
import gc
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import orbax.checkpoint as ocp
from jaxtyping import Array, Bool, UInt32

from wtflow_jax.support import checksum, signals
from wtflow_jax.support.errors import WTFlowError, shown
from wtflow_jax.training import sharding
from wtflow_jax.training.schedule import Diverged, Past
from wtflow_jax.training.train import TrainState

History = list[dict[str, Any]]

ASIDE = ".damaged"
"""End of the name that a checkpoint is given which cannot be read."""
SHORT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""What the system says that runs short of open files or memory."""


class Saved(NamedTuple):
    """What a checkpoint holds.

    Attributes:
        state: of the run.
        history: an entry an epoch that is over, with its ``loss``.
        past: what the state has behind it.
    """

    state: TrainState
    history: History
    past: Past


@jax.jit
def _sums(state: TrainState) -> tuple[UInt32[Array, " leaves"], Bool[Array, ""]]:
    """Return a checksum of each leaf, the same however it is laid out, and whether all is finite.

    It is the sum of the leaf's 32-bit words, each mixed with its place in one-to-one steps: no
    single word can change unnoticed, and several with a chance of 2⁻³².
    """

    def of(leaf: Array) -> UInt32[Array, ""]:
        words = jax.lax.bitcast_convert_type(leaf, jnp.uint32)
        # Without reshaping, which would gather what is split over devices.
        index = jnp.zeros(leaf.shape, jnp.uint32)
        for axis, n in enumerate(leaf.shape):
            index = index * jnp.uint32(n) + jax.lax.broadcasted_iota(jnp.uint32, leaf.shape, axis)
        mixed = words ^ (index * jnp.uint32(0x9E3779B9))
        for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
            mixed = (mixed ^ (mixed >> shift)) * jnp.uint32(factor)
        return jnp.sum(mixed ^ (mixed >> 16), dtype=jnp.uint32)

    leaves = jax.tree.leaves(state)
    finite = [jnp.isfinite(leaf).all() for leaf in leaves]
    return jnp.stack([of(leaf) for leaf in leaves]), jnp.stack(finite).all()


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Collect what Orbax leaves of what failed: it, and TensorStore's threads, complain of it."""
    hooks = sys.unraisablehook, sys.excepthook
    sys.unraisablehook = sys.excepthook = lambda *_: None
    try:
        yield
    finally:
        gc.collect()
        sys.unraisablehook, sys.excepthook = hooks


class Checkpoints:
    """A directory of checkpoints; a context manager that waits for what is being written."""

    def __init__(self, directory: Path) -> None:
        """Open ``directory``, which is made where it does not exist."""
        # Orbax and its event loop print the traceback of what is raised too.
        for name in ("absl", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self.directory = directory.absolute()
        options = ocp.CheckpointManagerOptions(max_to_keep=2, cleanup_tmp_directories=True)
        self.manager = ocp.CheckpointManager(self.directory, options=options)

    def __enter__(self) -> "Checkpoints":
        """Return self."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Wait for the last save and close.

        Raises:
            WTFlowError: it could not be written.
        """
        with self._writing():
            self.manager.wait_until_finished()
            self.manager.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Tell in one line why a checkpoint cannot be written, and leave nothing of it."""
        try:
            with signals.writing(), _quiet():
                yield
        except WTFlowError:
            raise
        except Exception as error:
            for part in self.directory.glob("*.orbax-checkpoint-tmp*"):
                shutil.rmtree(part, ignore_errors=True)
            # "RESOURCE_EXHAUSTED: Error writing ...: Failed to write ...: No space left on device".
            reason = _reason(error).rpartition(": ")[2]
            raise WTFlowError(
                f"{self.directory}: a checkpoint cannot be written ({reason}); free or name "
                "another place"
            ) from None

    def any(self) -> bool:
        """Return whether there are checkpoints."""
        return self.manager.latest_step() is not None

    def save(self, state: TrainState, history: History, past: Past) -> None:
        """Save a state and what it has behind it, numbered by its steps and epochs together.

        State and history are copied before this returns: their memory may be reused at once.

        Args:
            state: of the run.
            history: an entry an epoch that is over, with its ``loss``.
            past: what the state has behind it.

        Raises:
            Diverged: the state is not finite.
        """
        # An epoch whose scores were interrupted is saved once more when they are taken.
        step = int(optax.tree_utils.tree_get(state.moments, "count")) + len(history)
        if step == self.manager.latest_step():
            return
        sums, finite = _sums(state)
        if not finite:
            raise Diverged(f"a parameter is not finite after epoch {len(history)}")
        begun = past._asdict()
        # They are in the history.
        del begun["losses"]
        # A copy: it is written while the next epoch is added.
        epochs = [dict(entry) for entry in history]
        described = {"step": step, "epochs": epochs, "begun": begun, "sums": sums.tolist()}
        arguments = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            history=ocp.args.JsonSave(checksum.sealed(described)),
        )
        with self._writing():
            self.manager.save(step, args=arguments)

    def restore(self, like: TrainState) -> Saved | None:
        """Return what the newest checkpoint holds that is whole, or None where there is none.

        One that is damaged is told of on standard error and moved aside; where none is left,
        training begins again.

        Args:
            like: a state of the same shapes.
        """
        left = sorted(self.manager.all_steps())
        with _quiet():
            while left:
                step = left.pop()
                found = self._try(step, like)
                if isinstance(found, Saved):
                    return found
                path = self.directory / str(step)
                then = "going on from the checkpoint before" if left else "training begins again"
                told = f"{path}: is damaged ({found}), moved to {step}{ASIDE}; {then}"
                print(shown(told), file=sys.stderr)
                self._move_aside(path)
        return None

    def _try(self, step: int, like: TrainState) -> Saved | str:
        """Return what a checkpoint holds, or why it cannot be read."""
        try:
            return self._read(step, like)
        except Exception as error:
            # It is not to blame for too little memory, or too many open files.
            if isinstance(error, MemoryError) or getattr(error, "errno", None) in SHORT:
                raise
            # Of TensorStore's long messages "DATA_LOSS", "NOT_FOUND" and their like.
            return _reason(error).partition(": ")[0][:200]

    def _read(self, step: int, like: TrainState) -> Saved:
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        arguments = ocp.args.Composite(
            state=ocp.args.StandardRestore(abstract), history=ocp.args.JsonRestore()
        )
        restored = self.manager.restore(step, args=arguments)
        described = dict(restored["history"])
        if not checksum.is_whole(described) or described["step"] != step:
            raise ValueError("its history is not what was saved")
        if _sums(restored["state"])[0].tolist() != described["sums"]:
            raise ValueError("its arrays are not what was saved")
        history, begun = described["epochs"], described["begun"]
        past = Past(tuple(entry["loss"] for entry in history), **begun)
        return Saved(restored["state"], history, past)

    def _move_aside(self, path: Path) -> None:
        if sharding.first():
            aside = path.with_name(f"{path.name}{ASIDE}")
            shutil.rmtree(aside, ignore_errors=True)
            os.replace(path, aside)
        sharding.meet(f"{path.name}: aside")
        self.manager.reload()
