"""Reader for VisA with its own one-class split."""

import csv
from pathlib import Path

from wtflow_jax.data.files import GOOD, categories_in, choose, without_mask
from wtflow_jax.data.sample import Category, Sample
from wtflow_jax.support import untrusted
from wtflow_jax.support.errors import WTFlowError

ANOMALY = "anomaly"
LAYOUT = "CATEGORY/Data/Images/{Normal,Anomaly} and split_csv/1cls.csv"
COLUMNS = ("object", "split", "label", "image", "mask")
ROWS = (("train", "normal"), ("test", "normal"), ("test", ANOMALY))


def categories(root: Path) -> tuple[str, ...]:
    """Names of the categories in a data set.

    Args:
        root: the directory that holds one directory a category, and ``split_csv``.

    Returns:
        Sorted names of the directories laid out as VisA is.

    Raises:
        WTFlowError: no such directory, no category in it, or it is itself a category.
    """
    return categories_in(root, lambda directory: (directory / "Data" / "Images").is_dir(), LAYOUT)


def open_category(root: Path, name: str) -> Category:
    """Lists one category's images as ``split_csv/1cls.csv`` splits them; none is opened.

    Args:
        root: the directory that holds one directory a category, and ``split_csv``.
        name: the category.

    Returns:
        Training and test samples; defective ones are of kind ``anomaly``. Their masks number the
        kinds of defect from 1.

    Raises:
        WTFlowError: as ``categories``; no such category; the table is missing, has other columns
            or values, or lists nothing for the category; a file it lists is not there, or not in
            ``root``.
    """
    choose(root, name, categories(root))
    table = root / "split_csv" / "1cls.csv"
    train: list[Sample] = []
    test: list[Sample] = []
    for row in _rows(table, name):
        sample = _sample(root, table, row)
        (train if row["split"] == "train" else test).append(sample)
    for split, samples in (("train", train), ("test", test)):
        if not samples:
            raise WTFlowError(
                f"{table}: no {split} images of {name} listed: restore the published table"
            )
    by_kind = sorted(test, key=lambda sample: (sample.kind, str(sample.path)))
    return Category(name, tuple(sorted(train, key=lambda sample: str(sample.path))), tuple(by_kind))


def _rows(table: Path, name: str) -> list[dict[str, str]]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = tuple(reader.fieldnames or ())
            rows = [row for row in reader if row.get("object") == name]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise WTFlowError(
            f"{table}: cannot be read ({reason}): restore the published table"
        ) from error
    if columns != COLUMNS:
        raise WTFlowError(
            f"{table}: columns {', '.join(columns) or 'none'} instead of {', '.join(COLUMNS)}: "
            "restore the published table"
        )
    return rows


def _sample(root: Path, table: Path, row: dict[str, str]) -> Sample:
    if (row["split"], row["label"]) not in ROWS:
        raise WTFlowError(
            f"{table}: {row['image']} is {row['split']}, {row['label']}: "
            "only normal images train and only normal or anomaly test: restore the published table"
        )
    path = _listed(root, table, row["image"])
    if not path.is_file():
        raise WTFlowError(f"{path}: listed in {table}, but there is no such file: unpack it again")
    if row["label"] == "normal":
        return Sample(path, 0, GOOD)
    mask = _listed(root, table, row["mask"])
    if not mask.is_file():
        masks = root / row["object"] / "Data" / "Masks" / "Anomaly"
        raise without_mask(path, mask if row["mask"] else masks / f"{path.stem}.png")
    return Sample(path, 1, ANOMALY, (mask,))


def _listed(root: Path, table: Path, name: str | None) -> Path:
    try:
        return untrusted.inside(root, name or "", links=True)
    except ValueError as error:
        raise WTFlowError(f"{table}: {error}: restore the published table") from error
