"""Anomaly maps as colours, and pictures as text inside a page."""

import base64
import io

import matplotlib
import numpy as np
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

LIMIT = 0.5
"""Position of the threshold on the colour scale of a model."""
SHOWN, FULL = 0.46, 0.56
"""Where an overlay's colour begins, just below the threshold, and where it is strongest."""
STRENGTH = 0.65
"""Opacity of that colour where it is strongest."""
GREY = 0.8
"""Share of grey in the photograph below, so that only the map has colours."""
HOTTEST = 0.85
"""Where the colour is red."""
YELLOW, RED = (240, 228, 66), (230, 60, 0)
"""Colours at ``SHOWN`` and ``HOTTEST``; their brightness differs, for colour-blind readers."""
CONTOUR, DRAWN = (215, 25, 28), (0, 158, 215)
"""Colours of lines around pixels above the threshold, and around a mask."""
STRIPS = {True: (176, 28, 28), False: (70, 70, 70)}
"""Colours behind the verdict, by whether the image is defective."""
LONGEST = 2048
"""Pixels of the longer side of an overlay, at most."""
SIDE = 640
"""Pixels of the longer side of a picture in a page."""
QUALITY = 75
PALETTE = np.round(255 * matplotlib.colormaps["inferno"](np.arange(256))[:, :3]).astype(np.uint8)
"""256 colours, RGB."""
WARM = np.round(np.linspace(YELLOW, RED, 256)).astype(np.uint8)
"""256 colours of an overlay, RGB."""


def scaled(
    values: Float[np.ndarray, "h w"], colours: tuple[float, float]
) -> Float[np.ndarray, "h w"]:
    """Return scores of pixels on a scale of 0 to 1, clipped at its ends."""
    low, high = colours
    return np.clip((values - low) / (high - low), 0, 1)


def coloured(values: Float[np.ndarray, "h w"]) -> Image.Image:
    """Return the colours of values of ``scaled``."""
    # A palette takes a tenth of the time of matplotlib's own colormaps.
    image = Image.fromarray(np.round(255 * values).astype(np.uint8))
    image.putpalette(PALETTE.tobytes())
    return image.convert("RGB")


def overlay(image: Image.Image, values: Float[np.ndarray, "h w"]) -> Image.Image:
    """Return an RGB image, nearly grey, with the map over it: pixels above ``LIMIT`` stand out.

    Colour fades in just below ``LIMIT``, where the contour is. ``values`` of ``scaled`` may have
    fewer pixels than the image.
    """
    large = Image.fromarray(values.astype(np.float32)).resize(image.size, Image.Resampling.BILINEAR)
    at = np.asarray(large)
    share = STRENGTH * ((at - SHOWN) / (FULL - SHOWN)).clip(0, 1)
    strength = Image.fromarray(np.round(255 * share).astype(np.uint8))
    grey = Image.blend(image, image.convert("L").convert("RGB"), GREY)
    level = ((at - SHOWN) / (HOTTEST - SHOWN)).clip(0, 1)
    colour = Image.fromarray(np.round(255 * level).astype(np.uint8))
    colour.putpalette(WARM.tobytes())
    picture = Image.composite(colour.convert("RGB"), grey, strength)
    return outlined(picture, at > LIMIT, CONTOUR)


def outlined(
    picture: Image.Image, mask: Bool[np.ndarray, "h w"], colour: tuple[int, int, int]
) -> Image.Image:
    """Return an RGB picture with a line, edged with white, along the inner side of a mask."""
    if not mask.any():
        return picture
    width = max(1, round(max(picture.size) / 400))
    inner = _inside(mask, width)
    edge = _inside(inner, max(1, width // 2))
    pixels = np.array(picture)
    pixels[mask & ~inner] = colour
    pixels[inner & ~edge] = 255
    return Image.fromarray(pixels)


def _inside(mask: Bool[np.ndarray, "h w"], width: int) -> Bool[np.ndarray, "h w"]:
    size = 2 * width + 1
    # A mask that reaches the image's border has no line there.
    return ndimage.minimum_filter(mask, size=(size, size), mode="nearest")


def with_verdict(picture: Image.Image, text: str, defective: bool) -> Image.Image:
    """Return a picture with a strip above it that shows the verdict."""
    size = max(11, round(picture.width / 24))
    font = ImageFont.load_default(size)
    while size > 7 and font.getlength(text) > picture.width - size:
        font = ImageFont.load_default(size := size - 1)
    strip = round(1.7 * size)
    found = Image.new("RGB", (picture.width, picture.height + strip), STRIPS[defective])
    draw = ImageDraw.Draw(found)
    draw.text((size / 2, strip / 2), text, (255, 255, 255), font, anchor="lm")
    found.paste(picture, (0, strip))
    return found


def embedded(picture: Image.Image) -> str:
    """Return an RGB picture, or a mask (mode 1), as a data URI of ``SIDE`` pixels at most."""
    is_mask = picture.mode == "1"
    image = picture.convert("L") if is_mask else picture.copy()
    image.thumbnail((SIDE, SIDE), Image.Resampling.NEAREST if is_mask else Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "WEBP", lossless=is_mask, quality=QUALITY)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
