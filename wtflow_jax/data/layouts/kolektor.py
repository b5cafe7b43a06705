"""KolektorSDD: one directory per item, a label map for each image, no published one-class split.

As many good images are held out for testing as there are defective ones (see ``files.hold_out``).
kos01 and kos26 are the same item, and so are kos27 and kos34: all their good images are for
training, so that no good image is in both splits. All defective images are for testing: a defect
that occurs twice counts twice.
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
    """List the images; every label map is decoded, since only it shows if there is a defect."""
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
