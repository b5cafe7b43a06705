"""Checkpoints of a run in progress, by Orbax: the last two are kept."""

import contextlib
import gc
import logging
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from wtflow_jax.support.errors import WTFlowError, shown
from wtflow_jax.training import sharding
from wtflow_jax.training.schedule import Diverged, Past
from wtflow_jax.training.state import TrainState

History = list[dict[str, Any]]


class Saved(NamedTuple):
    """A checkpoint: a state, one history entry per epoch with its ``loss``, and the progress."""

    state: TrainState
    history: History
    past: Past


@jax.jit
def _finite(state: TrainState) -> jax.Array:
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(state)]).all()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide what Orbax and TensorStore's threads print about a failure; free what Orbax leaves."""
    hooks = sys.unraisablehook, sys.excepthook
    sys.unraisablehook = sys.excepthook = lambda *_: None
    try:
        yield
    except BaseException:
        gc.collect()
        raise
    finally:
        sys.unraisablehook, sys.excepthook = hooks


class Checkpoints:
    """A directory of checkpoints; a context manager that waits for pending writes."""

    def __init__(self, directory: Path) -> None:
        """Open a directory, or create it if it does not exist."""
        # Orbax and its event loop also print the tracebacks of raised exceptions.
        for name in ("absl", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self.directory = directory.absolute()
        options = ocp.CheckpointManagerOptions(max_to_keep=2, cleanup_tmp_directories=True)
        self.manager = ocp.CheckpointManager(self.directory, options=options)

    def __enter__(self) -> "Checkpoints":
        """Return self."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Wait for the last save and close; raise WTFlowError if it could not be written."""
        with self._writing():
            self.manager.wait_until_finished()
            self.manager.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Report in one line why a checkpoint cannot be written, and delete its parts."""
        try:
            with _quiet():
                yield
        except Exception as error:
            for part in self.directory.glob("*.orbax-checkpoint-tmp*"):
                shutil.rmtree(part, ignore_errors=True)
            # "RESOURCE_EXHAUSTED: Error writing ...: Failed to write ...: No space left on device",
            # or "[Errno 28] No space left on device": 'path', by which library fails first.
            said = str(error).partition("\n")[0].rpartition(": ")[2]
            reason = getattr(error, "strerror", None) or said.rpartition("] ")[2]
            raise WTFlowError(
                f"{self.directory}: a checkpoint cannot be written ({reason}); free space or "
                "choose another directory"
            ) from None

    def any(self) -> bool:
        """Return whether there are checkpoints."""
        return self.manager.latest_step() is not None

    def save(self, state: TrainState, history: History, past: Past) -> None:
        """Save a state, its history and its progress; raise Diverged if the state is not finite.

        State and history are copied before this returns: their memory may be reused at once.
        """
        # AdamW's step count plus finished epochs: it also grows when only the scores were missing.
        adam: Any = jax.tree.leaves(state.moments, is_leaf=lambda part: hasattr(part, "mu"))[0]
        step = int(adam.count) + len(history)
        if step == self.manager.latest_step():
            return
        if not _finite(state):
            raise Diverged(f"a parameter is not finite after epoch {len(history)}")
        # A copy of the history: Orbax writes it while the next epoch is added.
        begun = {name: value for name, value in past._asdict().items() if name != "losses"}
        described = {"epochs": [dict(entry) for entry in history], "begun": begun}
        parts = {"state": ocp.args.StandardSave(state), "history": ocp.args.JsonSave(described)}
        with self._writing():
            self.manager.save(step, args=ocp.args.Composite(**parts))

    def restore(self, like: TrainState) -> Saved | None:
        """Return the newest checkpoint, whose state has the shapes of ``like``, or None.

        A damaged checkpoint is reported on standard error and deleted; the previous one is used.
        """
        for step in sorted(self.manager.all_steps(), reverse=True):
            try:
                with _quiet():
                    return self._read(step, like)
            # Orbax, TensorStore and JSON raise unrelated exceptions on damaged files.
            except Exception as error:
                if isinstance(error, MemoryError):
                    raise
                reason = str(error).partition("\n")[0].partition(": ")[0][:200]
            path = self.directory / str(step)
            found = f"{path}: is damaged ({reason}) and deleted"
            print(shown(f"{found}; the previous checkpoint, if any, is used"), file=sys.stderr)
            if sharding.first():
                shutil.rmtree(path, ignore_errors=True)
            sharding.meet(f"{path.name}: deleted")
            self.manager.reload()
        return None

    def _read(self, step: int, like: TrainState) -> Saved:
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        parts = {"state": ocp.args.StandardRestore(abstract), "history": ocp.args.JsonRestore()}
        restored = self.manager.restore(step, args=ocp.args.Composite(**parts))
        history, begun = restored["history"]["epochs"], restored["history"]["begun"]
        past = Past(tuple(entry["loss"] for entry in history), **begun)
        return Saved(restored["state"], history, past)
