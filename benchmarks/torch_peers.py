"""Times a model of anomalib or torchvision's ResNet-18 on decoded images; a peer's process.

    python benchmarks/torch_peers.py NAME SIZE IMAGES REPEATS BATCH...
    python benchmarks/torch_peers.py job CATEGORY SIZE

Needs torch, torchvision and anomalib 2.7. Weights are random; memory banks and statistics have the
sizes of a fitted model. ``job`` fits PaDiM on the training images of a directory in MVTec AD's
layout and scores its test images. image_to_score.py, features.py and main_job.py run this script.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from anomalib.models.image.fastflow.torch_model import FastflowModel
from anomalib.models.image.padim.torch_model import PadimModel
from anomalib.models.image.patchcore.torch_model import PatchcoreModel
from PIL import Image

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LARGEST = 4e9
"""Largest distance matrix, in bytes."""


def fastflow(size: int, images: int) -> torch.nn.Module:
    return FastflowModel((size, size), "resnet18", pre_trained=False)


def patchcore(size: int, images: int) -> torch.nn.Module:
    model = PatchcoreModel(("layer2", "layer3"), "resnet18", pre_trained=False)
    model.memory_bank = torch.randn(images * (size // 8) ** 2 // 10, 128 + 256)
    return model


def padim(size: int, images: int) -> torch.nn.Module:
    model = PadimModel("resnet18", pre_trained=False)
    cells, features = (size // 4) ** 2, len(model.idx)
    model.gaussian.mean = torch.randn(features, cells)
    model.gaussian.inv_covariance = torch.eye(features).repeat(cells, 1, 1)
    return model


class Features(torch.nn.Module):
    """The pooled features of layer3."""

    def __init__(self) -> None:
        """Cut torchvision's ResNet-18 after layer3."""
        super().__init__()
        net = torchvision.models.resnet18(weights=None)
        self.body = torch.nn.Sequential(*list(net.children())[:7])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, 3, h, w) to (n, 256, h / 32, w / 32)."""
        return F.avg_pool2d(self.body(x), 3, 2, 1)


def features(size: int, images: int) -> torch.nn.Module:
    return Features()


def compiled(size: int, images: int) -> torch.nn.Module:
    return torch.compile(Features(), dynamic=False)  # pyright: ignore[reportReturnType]


def read(paths: list[Path], size: int) -> torch.Tensor:
    """Return images as uint8 (n, 3, size, size)."""
    images = [Image.open(path).convert("RGB").resize((size, size)) for path in paths]
    return torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)


def job(category: Path, size: int) -> None:
    """Fit PaDiM and score the test images; the caller times the whole process."""
    model = PadimModel("resnet18", pre_trained=False).train()
    mean, std = (torch.tensor(part).view(1, 3, 1, 1) for part in (MEAN, STD))
    images = 0
    for split in ("train", "test"):
        paths = sorted(p for p in (category / split).glob("*/*") if p.suffix in (".png", ".jpg"))
        for first in range(0, len(paths), 8):
            batch = read(paths[first : first + 8], size).float() / 255
            with torch.inference_mode():
                model((batch - mean) / std)
        if split == "train":
            model.fit()
            model.eval()
        images += len(paths)
    print(json.dumps({"images": images}))


def main() -> None:
    if sys.argv[1] == "job":
        job(Path(sys.argv[2]), int(sys.argv[3]))
        return
    name, size, images, repeats, *batches = sys.argv[1:]
    model = globals()[name](int(size), int(images)).eval()
    mean, std = (torch.tensor(part).view(1, 3, 1, 1) for part in (MEAN, STD))
    found = {}
    for batch in map(int, batches):
        # PatchCore takes all distances of a batch at once.
        distances = 4 * batch * (int(size) // 8) ** 2 * len(getattr(model, "memory_bank", ()))
        if name == "patchcore" and distances > LARGEST:
            continue
        shape = batch, int(size), int(size), 3
        pictures = np.random.default_rng(0).integers(0, 256, shape, np.uint8)

        def call(pictures: np.ndarray = pictures) -> None:
            x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
            result = model((x - mean) / std)
            # On a CPU the result is ready; there is nothing to wait for.
            if isinstance(result, torch.Tensor):
                result.numpy()
            else:
                result.anomaly_map.numpy()

        seconds = []
        with torch.inference_mode():
            for i in range(int(repeats) + 2):
                start = time.perf_counter()
                call()
                if i >= 2:
                    seconds.append(time.perf_counter() - start)
        found[f"batch {batch}"] = float(np.median(seconds))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
