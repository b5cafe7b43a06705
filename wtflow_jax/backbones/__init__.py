"""Pretrained networks whose feature maps the flow models: pure functions of params and images."""

from wtflow_jax.backbones.network import BACKBONES as BACKBONES
from wtflow_jax.backbones.network import MEAN as MEAN
from wtflow_jax.backbones.network import STD as STD
from wtflow_jax.backbones.network import Backbone as Backbone
from wtflow_jax.backbones.network import Grid as Grid
from wtflow_jax.backbones.network import Network as Network
from wtflow_jax.backbones.network import assemble as assemble
from wtflow_jax.backbones.network import load as load
from wtflow_jax.backbones.network import normalise as normalise
from wtflow_jax.backbones.network import parse_layers as parse_layers
