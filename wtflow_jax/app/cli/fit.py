"""``wtflow fit``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from wtflow_jax.detector.config import CACHE, BackboneName
from wtflow_jax.support.errors import WTFlowError, shown
from wtflow_jax.support.progress import bars

SHOWN = 3
"""Of the good images those with the highest scores are named: are they good?"""


@dataclass(frozen=True)
class Fit:
    """Learn from good images alone; a threshold comes with the model."""

    images: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Good images: directories (all that is in them, nested), files, patterns, or - for a list of
    paths on standard input."""
    out: Path
    """Directory of the model."""
    false_alarms: float = 0.01
    """Share of good images that may be called defective."""
    preset: Literal["small", "fine"] = "small"
    """fine looks closer, at four times the time."""
    velocity: Literal["exact", "unet", "patch"] = "exact"
    """Velocity field: that of the good images themselves, or a network that is trained on them."""
    backbone: BackboneName = "efficientnet_lite0"
    """Frozen feature extractor."""
    weights: str | None = None
    """Its .safetensors or .pth file; left out: the installed package (Lite0) or a download."""
    image_size: str | None = None
    """HxW that images are scaled into, or a side S: about S x S pixels in the images' aspect.
    Multiples of 32; left out: the preset's."""
    overlap: int | None = None
    """Cut images, as large as they are, into windows of --image-size that overlap by so many
    pixels; left out: images are scaled into one window."""
    seed: int = 0
    """Decides which images are left out together, and what is drawn."""
    cache: Path = CACHE
    """Directory for downloaded weights."""

    def execute(self) -> int:
        """Fit a model and write it."""
        from wtflow_jax.support.atomic import alone

        with alone(self.out):
            return self._fit()

    def _fit(self) -> int:
        from wtflow_jax import backbones
        from wtflow_jax.app import fitting
        from wtflow_jax.app.cli.info import describe
        from wtflow_jax.data.listing import find
        from wtflow_jax.detector import model
        from wtflow_jax.training import schedule

        replaced = model.check_free(self.out)
        paths = list(find(self.images))
        config, framing = fitting.settings(
            paths,
            preset=self.preset,
            velocity=self.velocity,
            backbone=self.backbone,
            image_size=self.image_size,
            overlap=self.overlap,
            false_alarms=self.false_alarms,
            seed=self.seed,
        )
        backbone = backbones.load(
            config.backbone, layer=config.layer, weights=self.weights, cache=self.cache
        )
        with bars() as progress:
            tasks = {}

            def advance(what: str, done: int, total: int) -> None:
                if what not in tasks:
                    tasks[what] = progress.add_task(what, total=total, note="")
                progress.advance(tasks[what], done)

            try:
                fitted = fitting.fit(paths, backbone, framing, config, advance=advance)
            except schedule.Diverged as error:
                raise WTFlowError(
                    f"{error}; give --velocity exact, which trains nothing, or another --seed"
                ) from error
        model.save(fitted, self.out)
        print("\n".join(describe(fitted)))
        trained = fitted.training
        held_out = zip(trained["held_out"], trained["held_out_of"], strict=True)
        highest = [(score, paths[i]) for score, i in sorted(held_out, reverse=True)[:SHOWN]]
        named = ", ".join(f"{shown(path)} ({score:.5g})" for score, path in highest)
        print(f"strangest among them: {named}; a defective one would raise the threshold")
        out = shown(self.out)
        instead = ", in place of the model that was there" if replaced else ""
        print(f"written to {out}{instead}; next: wtflow predict {out} IMAGES --out DIR")
        return 0
