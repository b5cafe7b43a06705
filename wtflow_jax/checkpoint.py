"""Checkpoints of a run in progress, by Orbax: the last two that were saved."""

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from wtflow_jax.errors import WTFlowError
from wtflow_jax.train import TrainState

History = list[dict[str, Any]]


def _manager(directory: Path) -> ocp.CheckpointManager:
    return ocp.CheckpointManager(
        directory.absolute(), options=ocp.CheckpointManagerOptions(max_to_keep=2)
    )


class Checkpoints:
    """A directory of checkpoints; a context manager that waits for what is being written."""

    def __init__(self, directory: Path) -> None:
        """Open ``directory``, which is made where it does not exist."""
        self.directory = directory
        self.manager = _manager(directory)

    def __enter__(self) -> "Checkpoints":
        """Return self."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Wait for the last save and close."""
        self.manager.wait_until_finished()
        self.manager.close()

    def save(self, state: TrainState, history: History) -> None:
        """Save the state after ``len(history)`` epochs with their history.

        The state is copied before this returns, so its memory may be reused at once.
        """
        arguments = ocp.args.Composite(
            state=ocp.args.StandardSave(state), history=ocp.args.JsonSave({"epochs": history})
        )
        self.manager.save(len(history), args=arguments)

    def restore(self, like: TrainState) -> tuple[TrainState, History] | None:
        """Return the newest state and history, or None where there is none.

        Args:
            like: a state of the same shapes.

        Raises:
            WTFlowError: the newest checkpoint cannot be read.
        """
        epoch = self.manager.latest_step()
        if epoch is None:
            return None
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        arguments = ocp.args.Composite(
            state=ocp.args.StandardRestore(abstract), history=ocp.args.JsonRestore()
        )
        try:
            restored = self.manager.restore(epoch, args=arguments)
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise WTFlowError(
                f"{self.directory / str(epoch)}: the checkpoint cannot be read ({reason[:200]}); "
                "delete it to continue from the one before"
            ) from error
        return restored["state"], restored["history"]["epochs"]
