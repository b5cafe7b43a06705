"""Pretrained networks whose feature maps the flow models: pure functions of params and images."""

from wtflow_jax.backbones.network import (
    BACKBONES,
    MEAN,
    STD,
    Backbone,
    Grid,
    Network,
    assemble,
    load,
    normalise,
    parse_layers,
)

__all__ = [
    "BACKBONES",
    "MEAN",
    "STD",
    "Backbone",
    "Grid",
    "Network",
    "assemble",
    "load",
    "normalise",
    "parse_layers",
]
