"""Training images in more and in less light, so that light is not taken for a defect.

Whitening scores what training images never did. If all of them have the same exposure, a slightly
darker photograph is an anomaly everywhere. With ``jitter`` each training image is multiplied by a
factor, so that the covariance holds the direction in which features move with the light.
"""

import numpy as np
from jaxtyping import Float, UInt8

GOLDEN = (5**0.5 - 1) / 2
"""Multiples of it, modulo 1, are evenly spread however many there are."""


def factors(count: int, jitter: float) -> Float[np.ndarray, " count"]:
    """Return a factor for each image, evenly spread in 1 ± ``jitter``; no random number is used."""
    return 1 + jitter * (2 * (GOLDEN * np.arange(1, count + 1) % 1) - 1)


def lit(image: UInt8[np.ndarray, "H W 3"], factor: float) -> UInt8[np.ndarray, "H W 3"]:
    """Return an image times a factor, rounded; values above 255 become 255."""
    # By a table: an image has at most 256 values.
    table = np.clip(np.round(np.arange(256) * factor), 0, 255).astype(np.uint8)
    return table[image]
