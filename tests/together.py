"""One process of a training run over several; what it found goes to standard output as JSON.

    python tests/together.py '{"port": 1234, "processes": 2, "process": 0, "mesh": [1, 2], ...}'

It goes on from the checkpoint in ``directory``, whatever layout that was saved under.
"""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from wtflow_jax.detector import detector
from wtflow_jax.detector.config import Config
from wtflow_jax.support import shards
from wtflow_jax.training import schedule, sharding
from wtflow_jax.training.checkpoint import Checkpoints


def main(
    port: int,
    processes: int,
    process: int,
    mesh: tuple[int, int],
    directory: str,
    epochs: int,
    streamed: bool = False,
) -> None:
    if processes > 1:
        sharding.connect(f"127.0.0.1:{port}", processes, process)
    config = Config(
        velocity="patch", width=16, epochs=4, batch_size=8, wt="batch_norm", mesh=tuple(mesh)
    )
    x = np.random.default_rng(0).normal(1, 2, (24, 8, 8, 16)).astype(np.float32)
    layout = detector.objective(config).layout
    features = layout.replicate(x)
    if streamed:
        with sharding.turns("written"):
            parts = [[x[:10]], [x[10:]]]
            features = shards.write(Path(directory) / "shards", x.shape[1:], parts)
    fitted, state = detector.init(config, features)
    history, past = [], schedule.BEGINNING
    with Checkpoints(Path(directory) / "checkpoint") as checkpoints:
        if found := checkpoints.restore(state):
            state, history, past = found
        run = detector.epochs(config, fitted, state, features, past=past)
        for _, epoch in run:
            history.append({"loss": epoch.loss})
            params = epoch.state.params
            if len(history) == epochs:
                checkpoints.save(epoch.state, history, epoch.past.over())
                break
    leaves = jax.tree.leaves(params)
    held = sum(leaf.addressable_data(0).nbytes for leaf in leaves)
    whole = jax.tree.leaves(layout.local(params))
    found = {
        "losses": [entry["loss"] for entry in history],
        "share": held / sum(leaf.nbytes for leaf in leaves),
        "sum": float(sum(jnp.sum(jnp.abs(leaf)) for leaf in whole)),
        "devices": jax.device_count(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
