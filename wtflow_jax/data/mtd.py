"""Reader for the magnetic tile defects (MTD): images and masks side by side, no split."""

from pathlib import Path

from wtflow_jax.data.files import choose, defective, good, images, listing, require_directory
from wtflow_jax.data.sample import Category, Sample
from wtflow_jax.data.split import hold_out
from wtflow_jax.support.errors import WTFlowError

NAME = "mtd"
FREE = "Free"
DEFECTS = ("Blowhole", "Break", "Crack", "Fray", "Uneven")
LAYOUT = "MT_{Free,Blowhole,Break,Crack,Fray,Uneven}/Imgs/*.jpg"


def categories(root: Path) -> tuple[str, ...]:
    """The one category of this data set.

    Args:
        root: the directory that holds ``MT_Free``.

    Returns:
        ``("mtd",)``.

    Raises:
        WTFlowError: no such directory, or ``MT_Free`` is not in it.
    """
    require_directory(root, LAYOUT)
    if not (root / f"MT_{FREE}").is_dir():
        raise WTFlowError(
            f"{root}: no MT_{FREE}, found {listing(root)}: give the directory that holds {LAYOUT}"
        )
    return (NAME,)


def open_category(root: Path, name: str = NAME) -> Category:
    """Lists the images; none is opened.

    A fifth of the good images tests (``split.hold_out`` says which), the others train. The .png
    beside a defective .jpg is its mask; those of good images are not used.

    Args:
        root: the directory that holds ``MT_Free``.
        name: ``mtd``.

    Returns:
        Training and test samples; kinds are ``Blowhole``, ``Break`` and so on.

    Raises:
        WTFlowError: as ``categories``; another name; a directory without images; a defective
            image without mask.
    """
    choose(root, name, categories(root))
    free = _photographs(root, FREE)
    train, held_out = hold_out(free, len(free) // 5)
    test: list[Sample] = []
    for kind in DEFECTS:
        masks = root / f"MT_{kind}" / "Imgs"
        test += defective(_photographs(root, kind), kind, masks, endings=frozenset({".png"}))
    return Category(name, good(train), (*test, *good(held_out)))


def _photographs(root: Path, kind: str) -> list[Path]:
    return images(root / f"MT_{kind}" / "Imgs", f"images of {NAME}", frozenset({".jpg"}))
