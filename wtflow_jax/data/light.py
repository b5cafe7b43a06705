"""Some training images in more and in less light, so that light is not taken for a defect.

Whitening scores what training images never did. If all of them have the same exposure, a slightly
darker photograph is an anomaly everywhere. With ``jitter`` some training images are multiplied by a
factor, so that the covariance holds the direction in which features move with the light.
"""

import numpy as np
from jaxtyping import Float, UInt8

SOME = 64
"""Images in other light, at most: enough for the few directions that light has."""


def factors(count: int, jitter: float) -> Float[np.ndarray, " count"]:
    """Return a factor for each image: within 1 ± ``jitter`` for ``SOME`` of them, 1 for the others.

    Images and factors are evenly spaced, in an order in which neighbours differ; none is random.
    """
    found, some = np.ones(count), min(count, SOME)
    golden = (5**0.5 - 1) / 2
    places = np.arange(some) * count // some
    found[places] += jitter * (2 * (golden * np.arange(1, some + 1) % 1) - 1)
    return found


def lit(image: UInt8[np.ndarray, "H W 3"], factor: float) -> UInt8[np.ndarray, "H W 3"]:
    """Return an image times a factor, rounded; values above 255 become 255."""
    if factor == 1:
        return image
    # By a table: an image has at most 256 values.
    table = np.clip(np.round(np.arange(256) * factor), 0, 255).astype(np.uint8)
    return table[image]
