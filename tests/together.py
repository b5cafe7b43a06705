"""One process of a training run over several; prints its results as JSON.

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
from wtflow_jax.detector.config import configure
from wtflow_jax.support import shards
from wtflow_jax.training import schedule, sharding
from wtflow_jax.training.checkpoint import Checkpoints

CONFIG = configure(velocity="patch", width=16, epochs=4, batch_size=8, wt="batch_norm")


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
    layout = sharding.layout(*mesh)
    x = np.random.default_rng(0).normal(1, 2, (24, 8, 8, 16)).astype(np.float32)
    features = layout.replicate(x)
    if streamed:
        with sharding.turns("written"):
            features = shards.write(Path(directory) / "shards", x.shape[1:], [[x[:10]], [x[10:]]])
    fitted, state = detector.init(CONFIG, features, layout)
    past = schedule.BEGINNING
    with Checkpoints(Path(directory) / "checkpoint") as checkpoints:
        if found := checkpoints.restore(state):
            state, _, past = found
        run = detector.training(fitted, state, features, layout, past=past)
        for state, past, whole in run:
            if whole and past.epoch == epochs:
                past = past.over()
                checkpoints.save(state, [{"loss": loss} for loss in past.losses], past)
                break
    leaves = jax.tree.leaves(state.params)
    held = sum(leaf.addressable_data(0).nbytes for leaf in leaves)
    whole = jax.tree.leaves(layout.local(state.params))
    found = {
        "losses": past.losses,
        "share": held / sum(leaf.nbytes for leaf in leaves),
        "sum": float(sum(jnp.sum(jnp.abs(leaf)) for leaf in whole)),
        "devices": jax.device_count(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
