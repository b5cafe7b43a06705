"""Fits a model of anomalib and writes its scores and maps; run as a process by accuracy.py.

    python benchmarks/accuracy_peers.py NAME DIRECTORY WEIGHTS EPOCHS

Needs torch and anomalib 2.7. ``DIRECTORY`` holds train.npy and test.npy, uint8 (n, S, S, 3).
scores.npy and maps.npy of the test images, float32, are written there. Models, losses, optimizers
and maps are anomalib's; training follows its recipes without Lightning. With ``features`` as NAME
it writes the backbone's layers of the first four test images, for comparison with ours.
"""

import json
import math
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from anomalib.models.components import KCenterGreedy
from anomalib.models.components.feature_extractors import TimmFeatureExtractor
from anomalib.models.image.dfm.torch_model import DFMModel
from anomalib.models.image.fastflow.loss import FastflowLoss
from anomalib.models.image.fastflow.torch_model import FastflowModel
from anomalib.models.image.padim.torch_model import PadimModel
from anomalib.models.image.patchcore.torch_model import PatchcoreModel
from safetensors.torch import load_file
from torch import nn

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 32
"""Training images per call, anomalib's default."""
TIMED = 10
"""Timed steps of the coreset; all steps take equally long."""
FEW = 32
"""Number of principal components for a lower bound of distances."""
LAYERS = ("layer1", "layer2", "layer3")

Images = np.ndarray
Figures = dict[str, float]


def batch_of(images: Images) -> torch.Tensor:
    """Return decoded images as a normalised batch, float32 (n, 3, S, S)."""
    mean, std = (torch.tensor(part).view(1, 3, 1, 1) for part in (MEAN, STD))
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    return (pixels.float() / 255 - mean) / std


def give(net: nn.Module, weights: str) -> None:
    """Load weights with folded batch norms into a ResNet of timm, for the layers that it has."""
    given = load_file(weights)
    folded = 0
    state = net.state_dict()
    for name, part in net.named_modules():
        if isinstance(part, nn.Conv2d):
            norm = name.replace("conv", "bn")
            if norm == name:
                norm = name.replace("downsample.0", "downsample.1")
            # This norm only adds the bias.
            state[f"{name}.weight"] = given[f"{name}.weight"]
            state[f"{norm}.bias"] = given[f"{name}.bias"]
            state[f"{norm}.weight"] = torch.ones_like(given[f"{name}.bias"])
            state[f"{norm}.running_mean"] = torch.zeros_like(given[f"{name}.bias"])
            variance = 1 - net.get_submodule(norm).eps
            state[f"{norm}.running_var"] = torch.full_like(given[f"{name}.bias"], variance)
            folded += 1
    net.load_state_dict(state)
    assert folded == sum(isinstance(part, nn.BatchNorm2d) for part in net.modules())
    net.eval()


def remembered(model: nn.Module, images: Images) -> None:
    """Pass training images through a model, which stores their features."""
    model.train()
    with torch.no_grad():
        for first in range(0, len(images), BATCH):
            model(batch_of(images[first : first + BATCH]))


def fitted(model: nn.Module, images: Images, weights: str) -> tuple[nn.Module, Figures]:
    """Fit a model that computes statistics of its stored features."""
    give(model.feature_extractor.feature_extractor, weights)
    start = time.perf_counter()
    remembered(model, images)
    model.fit()
    return model, {"fit_seconds": time.perf_counter() - start}


def padim(images: Images, weights: str, epochs: int) -> tuple[nn.Module, Figures]:
    return fitted(PadimModel("resnet18", pre_trained=False), images, weights)


def dfm(images: Images, weights: str, epochs: int) -> tuple[nn.Module, Figures]:
    return fitted(DFMModel("resnet18", "layer3", pre_trained=False), images, weights)


def patchcore(
    images: Images, weights: str, epochs: int, share: float = 0.1
) -> tuple[nn.Module, Figures]:
    model = PatchcoreModel(("layer2", "layer3"), "resnet18", pre_trained=False)
    give(model.feature_extractor.feature_extractor, weights)
    start = time.perf_counter()
    remembered(model, images)
    model.memory_bank = torch.vstack(model.embedding_store)
    model.embedding_store.clear()
    taken = time.perf_counter() - start
    chosen, steps, own = coreset(model.memory_bank, share)
    model.memory_bank = model.memory_bank[chosen]
    seconds = time.perf_counter() - start
    # fit_seconds: the time of anomalib's own loop, extrapolated from its first steps.
    return model, {"fit_seconds": taken + steps * own, "fit_seconds_here": seconds}


def coreset(patches: torch.Tensor, share: float) -> tuple[torch.Tensor, int, float]:
    """Choose patches as anomalib's ``KCenterGreedy`` does, in a fraction of its time.

    A patch can be nearer to the new centre than to its own only if two bounds allow it. The
    distance between the two centres is less than twice the patch's distance (triangle inequality).
    The distance in the first principal components is less than the patch's. Other patches are
    skipped.

    Returns:
        Indices, their number, and the seconds that a step of anomalib's own takes.
    """
    sampler = KCenterGreedy(patches, share)
    sampler.model.fit(patches)
    sampler.features = points = sampler.model.transform(patches)
    first = torch.randint(len(points), (1,)).squeeze()
    start = time.perf_counter()
    idx = first
    for _ in range(TIMED):
        sampler.update_distances(idx)
        idx = sampler.get_new_idx()
    own = (time.perf_counter() - start) / TIMED
    count, squares = sampler.coreset_size, points.square().sum(1)
    chosen, centres = torch.empty(count, dtype=torch.long), points.new_empty(count, points.shape[1])
    chosen[0], centres[0] = first, points[first]
    near = torch.linalg.norm(points - points[first], dim=1)
    owner = torch.zeros(len(points), dtype=torch.long)
    few = points @ torch.linalg.eigh(torch.cov(points.T)).eigenvectors[:, -FEW:]
    # Squared distances are differences of these squares: allow for float32 rounding.
    slack = 1e-5 * float(squares.max())
    for i in range(1, count):
        new = near.argmax()
        chosen[i], centres[i] = new, points[new]
        apart = squares[chosen[: i + 1]] - 2 * (centres[: i + 1] @ centres[i]) + squares[new]
        maybe = apart[owner] < 4 * near.square() + slack
        (some,) = torch.nonzero(maybe, as_tuple=True)
        least = (few[some] - few[new]).square().sum(1)
        some = some[least < near[some].square() + slack]
        distances = torch.linalg.norm(points[some] - centres[i], dim=1)
        nearer = distances < near[some]
        near[some[nearer]], owner[some[nearer]] = distances[nearer], i
        near[new] = 0
    return chosen, count, own


def fastflow(images: Images, weights: str, epochs: int) -> tuple[nn.Module, Figures]:
    model = FastflowModel(images.shape[1:3], "resnet18", pre_trained=False)
    give(model.feature_extractor, weights)
    loss_of = FastflowLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-5)
    start = time.perf_counter()
    model.train()
    for epoch in range(epochs):
        order, total = torch.randperm(len(images)).numpy(), 0.0
        for first in range(0, len(images), BATCH):
            own = order[first : first + BATCH]
            loss = loss_of(*model(batch_of(images[own])))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(own)
        seconds = time.perf_counter() - start
        print(f"epoch {epoch + 1}: {total / len(images):.0f}, {seconds:.0f} s", flush=True)
        if not math.isfinite(total):
            raise SystemExit("training diverged")
    return model, {"fit_seconds": time.perf_counter() - start}


MODELS: dict[str, Callable[[Images, str, int], tuple[nn.Module, Figures]]] = {
    "padim": padim,
    "dfm": dfm,
    "patchcore": patchcore,
    "patchcore-1": partial(patchcore, share=0.01),
    "fastflow": fastflow,
}


def features(directory: Path, weights: str) -> None:
    """Write the layers of the first four test images."""
    extractor = TimmFeatureExtractor("resnet18", LAYERS, pre_trained=False)
    give(extractor.feature_extractor, weights)
    found = extractor(batch_of(np.load(directory / "test.npy")[:4]))
    np.savez(directory / "features.npz", **{name: found[name].numpy() for name in LAYERS})


def main() -> None:
    name, directory, weights, epochs = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    torch.manual_seed(0)
    if name == "features":
        features(directory, weights)
        return
    model, found = MODELS[name](np.load(directory / "train.npy"), weights, epochs)
    model.eval()
    tested = np.load(directory / "test.npy")
    scores, seconds = np.empty(len(tested), np.float32), []
    maps = np.lib.format.open_memmap(directory / "maps.npy", "w+", np.float32, tested.shape[:3])
    with torch.inference_mode():
        model(batch_of(tested[:1]))
        for i in range(len(tested)):
            start = time.perf_counter()
            result = model(batch_of(tested[i : i + 1]))
            maps[i], scores[i] = result.anomaly_map.numpy().squeeze(), result.pred_score.item()
            seconds.append(time.perf_counter() - start)
    np.save(directory / "scores.npy", scores)
    state = sum(part.nbytes for part in model.state_dict().values())
    found |= {"milliseconds": 1e3 * float(np.median(seconds)), "megabytes": state / 1e6}
    found["peak_gigabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps(found))


if __name__ == "__main__":
    main()
