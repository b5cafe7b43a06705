"""Readers of published directory layouts, and the preprocessing of their images."""

from wtflow_jax.datasets.builtin import generate
from wtflow_jax.datasets.images import decode, open_image, parse_size, read_image, read_mask
from wtflow_jax.datasets.layouts import LAYOUTS, categories, open_category
from wtflow_jax.datasets.loco import Defect, regions
from wtflow_jax.datasets.sample import Category, Sample, Saturation

__all__ = [
    "LAYOUTS",
    "Category",
    "Defect",
    "Sample",
    "Saturation",
    "categories",
    "decode",
    "generate",
    "open_category",
    "open_image",
    "parse_size",
    "read_image",
    "read_mask",
    "regions",
]
