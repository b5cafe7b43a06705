"""KolektorSDD: a directory an item, each image with a label map, no one-class split.

As many good images test as there are defective ones (``files.hold_out`` says which). kos01 and
kos26 are the same item, and so are kos27 and kos34: all their good images train, none tests, so
that no good image is on both sides. Their defective images all test, as any: a defect that is there
twice counts twice.
"""

from functools import partial
from pathlib import Path

from wtflow_jax.data.files import by_name, good, hold_out, images, only, without_mask
from wtflow_jax.data.layouts import LAYOUTS, Layout, published
from wtflow_jax.data.masks import read_labels
from wtflow_jax.data.sample import Category, Sample

ITEMS = "kos[0-9][0-9]"
LABEL = "_label"
TWINS = frozenset({"kos01", "kos26", "kos27", "kos34"})


def read(root: Path, name: str) -> Category:
    """List the images; every label map is decoded, since a defect shows nowhere else."""
    passed: list[Path] = []
    failed: list[Sample] = []
    for item in sorted(root.glob(ITEMS)):
        found = by_name(images(item))
        for stem, path in found.items():
            if stem.endswith(LABEL):
                continue
            if (label := found.get(stem + LABEL)) is None:
                raise without_mask(path, item / f"{stem}{LABEL}.bmp")
            if read_labels(label).any():
                failed.append(Sample(path, 1, "defect", (label,)))
            else:
                passed.append(path)
    twins = [path for path in passed if path.parent.name in TWINS]
    others = [path for path in passed if path.parent.name not in TWINS]
    train, held_out = hold_out(others, len(failed))
    return Category(name, good(sorted(train + twins)), (*failed, *good(held_out)))


looks = "kosNN/PartN.jpg and kosNN/PartN_label.bmp"
categories = partial(only, name="kolektor_sdd", pattern=ITEMS, looks=looks)
source = "Tabernik et al., Journal of Intelligent Manufacturing 2020"
LAYOUTS.add("kolektor_sdd")(
    Layout("KolektorSDD", source, categories, read, published("kolektor_sdd"))
)
