"""VisA, with its own one-class split; masks number the kinds of defect from 1."""

import csv
from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePath

from wtflow_jax.data.files import GOOD, categories_in, damage, without_mask
from wtflow_jax.data.layouts import LAYOUTS, Layout, published
from wtflow_jax.data.sample import Category, Sample
from wtflow_jax.support.errors import WTFlowError

ROWS = (("train", "normal"), ("test", "anomaly"), ("test", "normal"))
"""Valid combinations of split and label: only normal images are for training."""


def read(root: Path, name: str) -> Category:
    """List a category as ``split_csv/1cls.csv`` splits it; defects are of one kind, ``anomaly``."""
    table = root / "split_csv" / "1cls.csv"
    found: dict[tuple[str, str], list[Sample]] = {kind: [] for kind in ROWS}
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            for row in csv.DictReader(file, restval=""):
                if row["object"] != name:
                    continue
                if (kind := (row["split"], row["label"])) not in found:
                    raise ValueError(f"split {kind[0]!r} with label {kind[1]!r}")
                found[kind].append(_sample(root, row))
        train, bad, good = (sorted(part, key=lambda one: str(one.path)) for part in found.values())
        for split, samples in (("train", train), ("test", bad + good)):
            if not samples:
                raise ValueError(f"no {split} images of {name} listed")
    # KeyError: a column is missing.
    except (OSError, ValueError, KeyError, csv.Error) as error:
        reason = f"not as published ({damage(error)}): restore the published table"
        raise WTFlowError(f"{table}: {reason}") from error
    return Category(name, tuple(train), (*bad, *good))


def _sample(root: Path, row: Mapping[str, str]) -> Sample:
    for file in (row["image"], row["mask"]):
        if PurePath(file).is_absolute() or ".." in PurePath(file).parts:
            raise ValueError(f"{file!r} leads out of {root}")
    path, mask = root / row["image"], root / row["mask"]
    if not path.is_file():
        raise WTFlowError(
            f"{path}: listed in split_csv/1cls.csv, but there is no such file: unpack it again"
        )
    if row["label"] == "normal":
        return Sample(path, 0, GOOD)
    if not mask.is_file():
        masks = root / row["object"] / "Data" / "Masks" / "Anomaly"
        raise without_mask(path, mask if row["mask"] else masks / f"{path.stem}.png")
    return Sample(path, 1, row["label"], (mask,))


categories = partial(
    categories_in,
    is_category=lambda directory: (directory / "Data" / "Images").is_dir(),
    looks="CATEGORY/Data/Images/{Normal,Anomaly} and split_csv/1cls.csv",
)
LAYOUTS.add("visa")(Layout("VisA", "Zou et al., ECCV 2022", categories, read, published("visa")))
