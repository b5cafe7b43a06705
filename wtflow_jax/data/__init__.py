"""Readers of published directory layouts, and the preprocessing of their images."""

from wtflow_jax.data.builtin import generate
from wtflow_jax.data.images import decode, open_image, parse_size, read_image, read_mask
from wtflow_jax.data.layouts import LAYOUTS, categories, open_category
from wtflow_jax.data.loco import Defect, regions
from wtflow_jax.data.sample import Category, Sample, Saturation

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
