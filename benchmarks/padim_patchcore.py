"""Do exact fields reproduce the scores of anomalib's PaDiM and PatchCore?

    python benchmarks/padim_patchcore.py --root mvtec_ad --weights resnet18.safetensors \\
        --peer-python peer/bin/python

All get the same features of a frozen ResNet-18. PaDiM's distance at each cell is compared with
‖x̂1‖ of the Gaussian field, fitted with PaDiM's covariance. PatchCore's unweighted distance to the
nearest patch of its bank is compared with the residual of the empirical field at T → 0. anomalib
2.7 needs its own environment.
"""

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

RIDGE = 0.01 + 1e-5
"""Sum of the two ridges that anomalib 2.7 adds to a covariance."""
PEER = """
import sys
import numpy as np, torch
from anomalib.models.components.stats.multi_variate_gaussian import MultiVariateGaussian
from anomalib.models.image.padim.anomaly_map import AnomalyMapGenerator
from anomalib.models.image.patchcore.torch_model import PatchcoreModel
train, test = (torch.from_numpy(np.load(path)).contiguous() for path in sys.argv[1:3])
stats = MultiVariateGaussian().fit(train.permute(0, 3, 1, 2))
padim = AnomalyMapGenerator.compute_distance(test.permute(0, 3, 1, 2), stats)[:, 0]
patchcore = PatchcoreModel(("layer3",), "resnet18", pre_trained=False)
patchcore.memory_bank = train.reshape(-1, train.shape[-1])
nearest, _ = patchcore.nearest_neighbors(test.reshape(-1, test.shape[-1]), 1)
np.savez(sys.argv[3], padim=padim.numpy(), patchcore=nearest.reshape(padim.shape).numpy())
"""


@dataclass(frozen=True)
class Settings:
    """What to compare."""

    root: Path
    """Directory in MVTec AD's layout."""
    category: str = "bottle"
    """The category."""
    weights: str | None = None
    """File of our ResNet-18; left out: a download."""
    peer_python: str = sys.executable
    """Python of the environment that has anomalib."""
    channels: int = 100
    """Number of channels, drawn at random as in PaDiM."""
    images: int = 60
    """Largest number of training images."""
    tested: int = 16
    """Largest number of test images."""
    steps: int = 256
    """Equal Dopri5 steps through the Gaussian field."""
    start: float = 1e-4
    """Time T of the empirical field's residual."""


def main(settings: Settings) -> None:
    """Compare, and print the median and the largest difference."""
    import jax
    import jax.numpy as jnp

    from wtflow_jax import backbones, data
    from wtflow_jax.backbones import features
    from wtflow_jax.flow import ode
    from wtflow_jax.geometry import gaussian, posterior_mean
    from wtflow_jax.support.environment import CACHE

    backbone = backbones.load("resnet18", weights=settings.weights, cache=CACHE)
    found = data.open_category(settings.root, settings.category)
    rng = np.random.default_rng(0)
    some = rng.permutation(256)[: settings.channels]
    order = rng.permutation(len(found.test))[: settings.tested]
    samples = found.train[: settings.images], [found.test[i] for i in order]
    train, test = (
        features.extract(backbone, part, (512, 512), CACHE)[..., some] for part in samples
    )
    with tempfile.TemporaryDirectory() as directory:
        paths = [str(Path(directory, name)) for name in ("train.npy", "test.npy", "out.npz")]
        np.save(paths[0], train)
        np.save(paths[1], test)
        subprocess.run([settings.peer_python, "-c", PEER, *paths], check=True)
        peer = dict(np.load(paths[2]))
    with jax.enable_x64(True):
        law = gaussian.of_samples(jnp.asarray(train, jnp.float64), RIDGE)
        flow = {"steps": settings.steps, "solver": "dopri5"}
        x0 = jnp.asarray(test, jnp.float64)
        x1 = ode.push_forward(gaussian.gaussian_velocity, law, x0, **flow)
        ours = {"padim": np.linalg.norm(x1, axis=-1)}
    bank, t = jnp.asarray(train.reshape(-1, train.shape[-1])), jnp.float32(settings.start)

    def residual(x: jax.Array) -> jax.Array:
        return jnp.linalg.norm(x - posterior_mean(bank, t, (1 - t) * x))

    cells = jnp.asarray(test.reshape(-1, test.shape[-1]))
    ours["patchcore"] = np.asarray(jax.lax.map(residual, cells, batch_size=256))
    for name, theirs in peer.items():
        # Relative to the median distance: for a patch in the bank, theirs is a rounding error.
        apart = np.abs(ours[name].reshape(theirs.shape) - theirs) / np.median(theirs)
        print(f"{name}: {theirs.size} cells, difference relative to the median distance: ", end="")
        print(f"median {np.median(apart):.1e}, largest {apart.max():.1e}")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
