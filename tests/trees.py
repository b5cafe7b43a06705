"""Tiny data sets in the published layouts."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 64

LOCO_CONFIG = [
    {
        "defect_name": "1_additional_pushpin",
        "pixel_value": 255,
        "saturation_threshold": 300,
        "relative_saturation": False,
    },
    {
        "defect_name": "color",
        "pixel_value": 254,
        "saturation_threshold": 0.25,
        "relative_saturation": True,
    },
]


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


def noisy(seed: int, defect: bool = False, height: int = SIDE, width: int = SIDE) -> np.ndarray:
    """The same picture with some grain; a defective one has a bright rectangle."""
    pixels = picture(0, height, width).astype(int)
    pixels += np.random.default_rng(seed).integers(-12, 13, pixels.shape)
    if defect:
        pixels[10:40, 20:50] = 255
    return np.clip(pixels, 0, 255).astype(np.uint8)


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


def mvtec_loco(root: Path, name: str = "pushpins") -> Path:
    """One category in MVTec LOCO's layout; returns its directory.

    The logical anomaly has two masks (values 255 and 254), the structural one a single mask.
    """
    category = root / name
    for i in range(4):
        write(category / "train" / "good" / f"{i:03d}.png", picture(i))
    for i in range(2):
        write(category / "validation" / "good" / f"{i:03d}.png", picture(40 + i))
        write(category / "test" / "good" / f"{i:03d}.png", picture(50 + i))
    for kind, values in (("logical_anomalies", (255, 254)), ("structural_anomalies", (254,))):
        write(category / "test" / kind / "000.png", defect(0)[0])
        for i, value in enumerate(values):
            mask = np.where(np.roll(defect(0)[1], 24 * i, axis=0), value, 0).astype(np.uint8)
            write(category / "ground_truth" / kind / "000" / f"{i:03d}.png", mask)
    (category / "defects_config.json").write_text(json.dumps(LOCO_CONFIG))
    return category


def visa(root: Path, names: tuple[str, ...] = ("candle", "pcb1")) -> Path:
    """VisA's layout, the rows of its table not in order; returns the table.

    Masks are label maps: 1 in the first defect, 1 and 3 in the second.
    """
    rows = ["object,split,label,image,mask"]
    for name in names:
        data = root / name / "Data"
        for i, split in ((3, "train"), (0, "train"), (4, "test"), (1, "train"), (2, "test")):
            write(data / "Images" / "Normal" / f"{i:04d}.JPG", picture(i))
            rows.append(f"{name},{split},normal,{name}/Data/Images/Normal/{i:04d}.JPG,")
        for i in range(2):
            image, mask = defect(i)
            labels = mask.astype(np.uint8)
            labels[40:44, 5:9] = 3 * i
            write(data / "Images" / "Anomaly" / f"{i:03d}.JPG", image)
            write(data / "Masks" / "Anomaly" / f"{i:03d}.png", labels)
            files = f"{name}/Data/Images/Anomaly/{i:03d}.JPG,{name}/Data/Masks/Anomaly/{i:03d}.png"
            rows.append(f"{name},test,anomaly,{files}")
        (data / "image_anno.csv").touch()
    table = root / "split_csv" / "1cls.csv"
    table.parent.mkdir(exist_ok=True)
    table.write_text("\n".join(rows) + "\n")
    return table


def btad(root: Path) -> Path:
    """BTAD's three categories, each with its own extensions of images and masks."""
    for name, image_end, mask_end in (
        ("01", "bmp", "png"),
        ("02", "png", "PNG"),
        ("03", "BMP", "bmp"),
    ):
        for i in range(3):
            write(root / name / "train" / "ok" / f"{i:04d}.{image_end}", picture(i))
        write(root / name / "test" / "ok" / f"0000.{image_end}", picture(50))
        for i in range(2):
            image, mask = defect(i)
            write(root / name / "test" / "ko" / f"{i:04d}.{image_end}", image)
            write(root / name / "ground_truth" / "ko" / f"{i:04d}.{mask_end}", mask)
    return root


def mtd(root: Path, free: int = 12, bad: int = 2) -> Path:
    """MTD's layout, each .jpg with its .png, good images too."""
    for i in range(free):
        write(root / "MT_Free" / "Imgs" / f"exp1_num_{i:05d}.jpg", picture(i)[..., 0])
        write(root / "MT_Free" / "Imgs" / f"exp1_num_{i:05d}.png", np.zeros((SIDE, SIDE), bool))
    for kind in ("Blowhole", "Break", "Crack", "Fray", "Uneven"):
        for i in range(bad):
            image, mask = defect(i)
            write(root / f"MT_{kind}" / "Imgs" / f"exp2_num_{i}.jpg", image[..., 0])
            write(root / f"MT_{kind}" / "Imgs" / f"exp2_num_{i}.png", mask)
    return root


def kolektor(root: Path, items: int = 50, parts: int = 8, bad: int = 52, last: int = 7) -> Path:
    """KolektorSDD's layout and counts: the last item lacks a part, defects go round the items."""
    (root / "kos01").mkdir(parents=True)
    images = {}
    for label in (False, True):
        mask = np.zeros((20, 8), np.uint8)
        mask[4:6, 2:7] = 255 * label
        images[label] = (
            write(root / "part.jpg", picture(label, 20, 8)[..., 0]).read_bytes(),
            write(root / "part.bmp", mask).read_bytes(),
        )
    for i in range(items * parts):
        item, part = i % items, i // items
        if (item, part) == (items - 1, last):
            continue
        directory = root / f"kos{item + 1:02d}"
        directory.mkdir(exist_ok=True)
        image, mask = images[i < bad]
        (directory / f"Part{part}.jpg").write_bytes(image)
        (directory / f"Part{part}_label.bmp").write_bytes(mask)
    return root


def folder(root: Path, good: int = 10) -> Path:
    """A user's directory: nested good images, two kinds of defect, not every mask drawn."""
    for i in range(good):
        write(root / "good" / f"day{i % 2}" / f"{i}.png", picture(i))
    for i in range(3):
        image, mask = defect(i)
        write(root / "scratch" / "left" / f"{i}.jpg", image)
        if i < 2:
            suffix = "_mask" * i
            write(root / "masks" / "scratch" / "left" / f"{i}{suffix}.PNG", mask)
    write(root / "dent" / "a.TIF", defect(0)[0])
    return root
