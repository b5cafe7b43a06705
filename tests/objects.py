"""Draws objects on a plain background."""

import numpy as np
from PIL import Image, ImageDraw

GROUND, OBJECT, FINER = 200, 60, 4


def hammer(rng, angle, shape=(160, 160), noise=6.0, head=16, spot=False):
    """A bar of 100 x 14 pixels with a head at one end, turned by an angle; grey as RGB.

    Its middle lies a few pixels beside the image's. A head of 7 is as wide as the bar, so that the
    two ends are alike; ``spot`` is a bright one on the handle.
    """
    height, width = shape
    middle = np.array([width, height]) / 2 + rng.uniform(-6, 6, 2)
    picture = Image.new("L", (width * FINER, height * FINER), GROUND)
    c, s = np.cos(angle), np.sin(angle)

    def fill(left, right, half, colour=OBJECT):
        corners = np.array([[left, -half], [right, -half], [right, half], [left, half]])
        placed = (corners @ np.array([[c, s], [-s, c]]) + middle) * FINER
        ImageDraw.Draw(picture).polygon([tuple(p) for p in placed.tolist()], fill=colour)

    fill(-50, 50, 7)
    fill(30, 50, head)
    if spot:
        fill(-30, -16, 7, 255)
    grey = np.asarray(picture.resize((width, height), Image.Resampling.BOX), np.float64)
    grey = np.clip(grey + rng.normal(0, noise, shape), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)
