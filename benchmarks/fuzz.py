"""Does any malformed file cause a traceback?

    python benchmarks/fuzz.py                       # 30 seconds per reader
    python benchmarks/fuzz.py table --seconds 300

Hypothesis mutates valid files; reading each must return a result or raise WTFlowError. Any other
exception is printed, and its input is saved in ``runs/fuzz``.
"""

import contextlib
import json
import logging
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import safetensors.numpy
import tyro
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from wtflow_jax import WTFlowError, fit, load
from wtflow_jax.app.report import page
from wtflow_jax.backbones import weights
from wtflow_jax.data.images import open_image
from wtflow_jax.data.layouts import loco, open_category

OUT = Path("runs/fuzz")
NAMES = "image", "weights", "model", "results", "table", "config"


class Over(KeyboardInterrupt):
    """The time is up; hypothesis does not catch a KeyboardInterrupt."""


def entrance(name: str, place: Path) -> tuple[list[bytes], Path, Callable[[Path], object]]:
    """Return valid contents, the path of the file to write, and the function that reads it."""
    pixels = np.random.default_rng(0).integers(0, 256, (96, 64, 3), np.uint8)
    for mode in ("RGB", "P", "RGBA", "L", "1"):
        Image.fromarray(pixels).convert(mode).save(place / f"{mode}.png")
    if name == "image":
        for form in ("JPEG", "BMP", "TIFF", "WEBP", "GIF"):
            Image.fromarray(pixels).save(place / form, form)
        return ([p.read_bytes() for p in place.iterdir()], place / "a.png", open_image)
    if name == "weights":
        whole = safetensors.numpy.save({"a": np.ones((2, 3)), "b.0": pixels}, {"version": "1"})
        return ([whole], place / "a.safetensors", weights.load_state)
    if name == "model":
        fit(place, image_size="64").save(place / "model")
        (path,) = (place / "model").iterdir()
        return [path.read_bytes()], path, lambda path: load(path.parent)
    if name == "results":
        row = {"category": "a", "variant": "", "seed": 0, "history": [{"epoch": 1, "loss": 0.5}]}
        table = {"title": "T", "columns": ["a", "b"], "rows": [["x", "1"]], "notes": ["n"]}
        found = {"experiment": "mvtec", "config": {"a": 1}, "rows": [row], "tables": [table]}
        read = lambda path: page.write(place, 3)  # noqa: E731
        return [json.dumps(found).encode()], place / page.RESULTS, read
    if name == "table":
        (place / "split_csv").mkdir()
        rows = "object,split,label,image,mask\na,train,normal,L.png,\na,test,anomaly,P.png,1.png\n"
        read = lambda path: open_category(place, "a", "visa")  # noqa: E731
        return [rows.encode()], place / "split_csv" / "1cls.csv", read
    kind = {"defect_name": "a", "pixel_value": 255, "saturation_threshold": 300}
    kinds = [kind | {"relative_saturation": relative} for relative in (False, True)]
    return ([json.dumps(kinds).encode()], place / "defects_config.json", loco.read_saturations)


@st.composite
def changed(draw: Callable, contents: list[bytes]) -> bytes:
    """Draw a valid content with up to four changes."""
    content = draw(st.sampled_from(contents))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(content)))
        to = draw(st.integers(at, min(len(content), at + 64)))
        odd = st.sampled_from([content[at:to] * 2, b"", b"9" * 20, b"NaN", b"..", b'"', b"["])
        content = content[:at] + draw(odd | st.binary(max_size=8)) + content[to:]
    return content


def attempt(name: str, seconds: float) -> int:
    """Fuzz one reader; return the number of distinct unexpected exceptions."""
    found, tried, end = dict[str, Path](), 0, float("inf")
    with tempfile.TemporaryDirectory() as directory:
        contents, path, read = entrance(name, Path(directory))

        def one(content: bytes) -> None:
            nonlocal tried
            if time.monotonic() > end:
                raise Over
            tried += 1
            path.write_bytes(content)
            try:
                with contextlib.suppress(WTFlowError):
                    read(path)
            except Exception as error:
                last = traceback.extract_tb(error.__traceback__)[-1]
                what = f"{type(error).__name__} at {last.filename}:{last.lineno}"
                if what not in found:
                    found[what] = OUT / f"{name}-{len(found)}"
                    found[what].write_bytes(content)
                    print(f"{found[what]}: {what}", file=sys.stderr)

        quiet = {"database": None, "deadline": None, "suppress_health_check": list(HealthCheck)}
        many = settings(max_examples=10**9, phases=[Phase.generate], **quiet)
        end = time.monotonic() + seconds
        with contextlib.suppress(Over):
            seed(0)(many(given(changed(contents))(one)))()
    print(f"{name}: {tried} inputs, {len(found)} findings")
    return len(found)


def main(names: Annotated[tuple[str, ...], tyro.conf.Positional] = NAMES, seconds: float = 30):
    """Fuzz each reader for some seconds; exit with status 1 if anything was found."""
    OUT.mkdir(parents=True, exist_ok=True)
    logging.disable()
    sys.exit(any([attempt(name, seconds) for name in names]))


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
