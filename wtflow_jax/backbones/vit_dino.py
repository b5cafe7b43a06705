"""DINOv2 and DINOv3: vision transformers whose patch tokens are used without any training.

Oquab et al., arXiv 2304.07193; Darcet et al., arXiv 2309.16588 (``_reg``: with four registers);
Siméoni et al., arXiv 2508.10104. Blocks count from 0.

Defaults are those of published detectors without training: the patch tokens of the last block, at
a side of 448 pixels (AnomalyDINO, arXiv 2405.14529, which also has 672). Several layers are the
blocks at each quarter of the depth: 2, 5, 8 and 11 of 12, or 5, 11, 17 and 23 of 24 (MuSc, arXiv
2401.16753). DINOv3's licence must be accepted to get its weights, so ``--weights`` names a file.
"""

from functools import partial

from wtflow_jax.backbones import vit, vit_state
from wtflow_jax.backbones.network import BACKBONES, Network
from wtflow_jax.backbones.vit import Architecture
from wtflow_jax.backbones.weights import Download

# Channels, blocks, heads, channels inside the MLP.
_SIZES = {"s": (384, 12, 6, 1536), "b": (768, 12, 12, 3072), "l": (1024, 24, 16, 4096)}
ARCHITECTURES: dict[str, Architecture] = {}
for _size, _shape in _SIZES.items():
    # Positions for 518 pixels, interpolated as the authors evaluate each checkpoint.
    _net = Architecture(14, *_shape, trained=37, offset=0.1)
    ARCHITECTURES[f"dinov2_vit{_size}14"] = _net
    ARCHITECTURES[f"dinov2_vit{_size}14_reg"] = _net._replace(
        registers=4, offset=0.0, antialias=True
    )
for _size, _shape in _SIZES.items():
    ARCHITECTURES[f"dinov3_vit{_size}16"] = Architecture(16, *_shape, registers=4, eps=1e-5)
ARCHITECTURES["dinov3_vits16plus"] = ARCHITECTURES["dinov3_vits16"]._replace(gated=True)
DIGESTS = {
    "dinov2_vits14": "b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9",
    "dinov2_vits14_reg": "f433177089a681826f849f194ece3bb48f4d63fb38d32fc837e3dc7a4e5641fb",
    "dinov2_vitb14": "0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73",
    "dinov2_vitb14_reg": "73182a088cf94833c94b1666d1c99e02fe87e2007bff57b564fb6206e25dba71",
    "dinov2_vitl14": "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
    "dinov2_vitl14_reg": "36e4deffbaef061a2576705b0c36f93621e2ae20bf6274694821b0b492551b51",
}
"""SHA-256 of the authors' weights, as many projects record them."""
_URL = "https://dl.fbaipublicfiles.com/dinov2/{}/{}_pretrain.pth"


def _official(name: str) -> Download | None:
    if name not in DIGESTS:
        return None
    file = name.replace("_reg", "_reg4")
    return Download(_URL.format(name.removesuffix("_reg"), file), DIGESTS[name])


for _name, _net in ARCHITECTURES.items():
    BACKBONES.add(_name)(
        Network(
            unit="block",
            layers=range(_net.depth),
            default=_net.depth - 1,
            several=tuple(f"block{i * _net.depth // 4 - 1}" for i in range(1, 5)),
            rectified=False,
            features=partial(vit.features, net=_net),
            from_state=partial(vit_state.from_state, _name, _net),
            channels=lambda block, net=_net: net.width,
            grid=_net.grid,
            official=_official(_name),
            portable=partial(vit.features, net=_net, attend=vit.attend),
            multiple=_net.patch,
            sizes=(448, 672),
            pooled=False,
        )
    )
