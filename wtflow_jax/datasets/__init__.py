"""Readers of published directory layouts, and the preprocessing of their images."""

from wtflow_jax.datasets.builtin import generate
from wtflow_jax.datasets.images import parse_size, read_image, read_mask
from wtflow_jax.datasets.mvtec import categories, open_category
from wtflow_jax.datasets.sample import Category, Sample

__all__ = [
    "Category",
    "Sample",
    "categories",
    "generate",
    "open_category",
    "parse_size",
    "read_image",
    "read_mask",
]
