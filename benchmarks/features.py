"""Is feature extraction faster than in torch, with the same backbone and images?

    python benchmarks/features.py --weights resnet18.safetensors --peer-python peer/bin/python

From decoded images of 512² to the pooled features of ResNet-18's layer3, beside torchvision's
network in eager torch and ``torch.compile``. We fold batch norm into the convolutions on loading;
torch runs it.
"""

import json
import sys

import tyro

import peers


def ours(settings: peers.OnImages) -> peers.Figures:
    """Time this library."""
    from wtflow_jax import backbones
    from wtflow_jax.support.environment import CACHE

    backbone = backbones.load("resnet18", weights=settings.weights, cache=CACHE)
    return peers.features_seconds(backbone, settings.size, settings.batches, settings.repeats)


def main(settings: peers.OnImages) -> None:
    if settings.worker:
        print(json.dumps(ours(settings)))
        return
    torch = settings.in_torch({"torch eager": "features", "torch.compile": "compiled"})
    commands = {"ours": [sys.executable, __file__, *sys.argv[1:], "--worker"], **torch}
    found = peers.in_turn(commands, settings.rounds)
    labels = {f"batch {n}": f"features, batch {n}" for n in settings.batches}
    title = f"ResNet-18, layer3, {settings.size}²: ms a call"
    peers.show(*peers.ratios(found, "ours", labels, title), settings.json)


if __name__ == "__main__":
    main(tyro.cli(peers.OnImages, description=__doc__))
