"""Data sets and images: readers of published layouts, and the one way from files to pixels."""

from wtflow_jax.data.builtin import generate as generate
from wtflow_jax.data.files import hold_out as hold_out
from wtflow_jax.data.framing import Framed as Framed
from wtflow_jax.data.framing import Framing as Framing
from wtflow_jax.data.framing import framed as framed
from wtflow_jax.data.good import find_good as find_good
from wtflow_jax.data.images import decode as decode
from wtflow_jax.data.images import open_image as open_image
from wtflow_jax.data.images import parse_size as parse_size
from wtflow_jax.data.images import read_image as read_image
from wtflow_jax.data.images import white_of as white_of
from wtflow_jax.data.layouts import LAYOUTS as LAYOUTS
from wtflow_jax.data.layouts import PREPARED as PREPARED
from wtflow_jax.data.layouts import Counts as Counts
from wtflow_jax.data.layouts import Layout as Layout
from wtflow_jax.data.layouts import categories as categories
from wtflow_jax.data.layouts import open_category as open_category
from wtflow_jax.data.layouts.loco import regions as regions
from wtflow_jax.data.masks import read_mask as read_mask
from wtflow_jax.data.sample import Category as Category
from wtflow_jax.data.sample import File as File
from wtflow_jax.data.sample import Held as Held
from wtflow_jax.data.sample import Sample as Sample
from wtflow_jax.data.sample import Saturation as Saturation
from wtflow_jax.data.sources import find as find
