"""Anomaly maps as colours, and pictures as text that a page can hold."""

import base64
import io

import matplotlib
import numpy as np
from jaxtyping import Float
from PIL import Image

STRENGTH = 0.6
"""Share of the colour in an overlay where the map is at the top of the scale."""
SIDE = 320
"""Pixels of the longer side of a picture in a page."""
QUALITY = 75
PALETTE = np.round(255 * matplotlib.colormaps["inferno"](np.arange(256))[:, :3]).astype(np.uint8)
"""256 colours, RGB."""


def scaled(
    values: Float[np.ndarray, "h w"], colours: tuple[float, float]
) -> Float[np.ndarray, "h w"]:
    """Return scores of pixels on a scale, 0 to 1; what is beyond is cut off."""
    low, high = colours
    return np.clip((values - low) / (high - low), 0, 1)


def coloured(values: Float[np.ndarray, "h w"]) -> Image.Image:
    """Return the colours of values of ``scaled``."""
    # A palette takes a tenth of the time of matplotlib's own way.
    image = Image.fromarray(np.round(255 * values).astype(np.uint8))
    image.putpalette(PALETTE.tobytes())
    return image.convert("RGB")


def overlay(image: Image.Image, values: Float[np.ndarray, "h w"]) -> Image.Image:
    """Return an RGB image under the colours of values of ``scaled``, the stronger the higher."""
    strength = Image.fromarray(np.round(255 * STRENGTH * values).astype(np.uint8))
    return Image.composite(coloured(values), image, strength)


def embedded(picture: Image.Image) -> str:
    """Return an RGB picture, or a mask (mode 1), as a data URI of ``SIDE`` pixels at most."""
    is_mask = picture.mode == "1"
    image = picture.convert("L") if is_mask else picture.copy()
    image.thumbnail((SIDE, SIDE), Image.Resampling.NEAREST if is_mask else Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "WEBP", lossless=is_mask, quality=QUALITY)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
