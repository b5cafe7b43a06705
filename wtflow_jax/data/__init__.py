"""Data sets and images: readers of published layouts, and the one way from files to pixels."""

from wtflow_jax.data.builtin import generate
from wtflow_jax.data.files import hold_out
from wtflow_jax.data.framing import Framed, Framing, framed
from wtflow_jax.data.images import decode, open_image, parse_size, read_image
from wtflow_jax.data.layouts import LAYOUTS, PREPARED, Counts, Layout, categories, open_category
from wtflow_jax.data.layouts.loco import regions
from wtflow_jax.data.masks import read_mask
from wtflow_jax.data.sample import Category, File, Held, Sample, Saturation
from wtflow_jax.data.sources import find

__all__ = [
    "LAYOUTS",
    "PREPARED",
    "Category",
    "Counts",
    "File",
    "Framed",
    "Framing",
    "Held",
    "Layout",
    "Sample",
    "Saturation",
    "categories",
    "decode",
    "find",
    "framed",
    "generate",
    "hold_out",
    "open_category",
    "open_image",
    "parse_size",
    "read_image",
    "read_mask",
    "regions",
]
