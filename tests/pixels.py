"""Scores of pixels with the masks of their defects."""

import numpy as np


def pixels(decimals, dtype, seed=0):
    """Scores and masks with two defects an image in most images; fewer decimals, more ties."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((10, 120, 170), bool)
    for mask in masks[:7]:
        for _ in range(2):
            y, x = rng.integers(0, 100), rng.integers(0, 140)
            mask[y : y + rng.integers(3, 20), x : x + rng.integers(3, 30)] = True
    scores = rng.normal(size=masks.shape) + 1.5 * masks
    return np.round(scores, decimals).astype(dtype), masks
