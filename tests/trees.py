"""Tiny data sets in the published layouts."""

from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 64


def write(path: Path, pixels: np.ndarray) -> Path:
    """Writes uint8 or bool pixels, [h, w] or [h, w, 3], in the format of the file's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def picture(seed: int, height: int = SIDE, width: int = SIDE) -> np.ndarray:
    """A smooth colour picture without symmetry, uint8 [height, width, 3]."""
    y, x = np.mgrid[:height, :width]
    channels = [3 * y + x + 7 * seed, y + 2 * x, 200 - 2 * y + seed]
    return np.clip(np.stack(channels, axis=-1), 0, 255).astype(np.uint8)


def defect(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture with a bright rectangle, and the rectangle's mask, bool [SIDE, SIDE]."""
    mask = np.zeros((SIDE, SIDE), bool)
    mask[10 : 22 + seed, 30:54] = True
    image = picture(seed)
    image[mask] = 255
    return image, mask


def mvtec_ad(root: Path, name: str = "part", train: int = 4, good: int = 2, bad: int = 2) -> Path:
    """One category in MVTec AD's layout, defect ``dent``; returns its directory."""
    category = root / name
    for i in range(train):
        write(category / "train" / "good" / f"{i:03d}.png", picture(i))
    for i in range(good):
        write(category / "test" / "good" / f"{i:03d}.png", picture(50 + i))
    for i in range(bad):
        image, mask = defect(i)
        write(category / "test" / "dent" / f"{i:03d}.png", image)
        write(category / "ground_truth" / "dent" / f"{i:03d}_mask.png", mask)
    return category


def mvtec_3d(root: Path, name: str = "part3d", train: int = 4, good: int = 2, bad: int = 2) -> Path:
    """One category in MVTec 3D-AD's layout, defect ``hole``; returns its directory."""
    category = root / name
    for i in range(train):
        write(category / "train" / "good" / "rgb" / f"{i:03d}.png", picture(i))
    write(category / "validation" / "good" / "rgb" / "000.png", picture(40))
    for i in range(good):
        write(category / "test" / "good" / "rgb" / f"{i:03d}.png", picture(50 + i))
        write(category / "test" / "good" / "gt" / f"{i:03d}.png", np.zeros((SIDE, SIDE), bool))
    for i in range(bad):
        image, mask = defect(i)
        write(category / "test" / "hole" / "rgb" / f"{i:03d}.png", image)
        write(category / "test" / "hole" / "gt" / f"{i:03d}.png", mask)
    return category
