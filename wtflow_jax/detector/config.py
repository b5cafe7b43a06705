"""One frozen config: every choice the paper makes or ablates is a value here."""

from dataclasses import dataclass, fields, replace
from math import prod
from pathlib import Path
from typing import Any, Literal

from wtflow_jax.support.errors import WTFlowError

WTMapName = Literal["none", "batch_norm", "layer_norm", "whiten"]
VelocityName = Literal["unet", "patch", "exact"]
TargetName = Literal["gaussian", "sphere", "point"]
SolverName = Literal["euler", "heun", "midpoint", "tsit5", "dopri5"]
BackboneName = Literal["resnet18", "resnet34", "wide_resnet50_2", "efficientnet_lite0"]
TimeLawName = Literal["uniform", "logit_normal", "beta", "stratified"]
ScoreName = Literal["density", "log_density"]
PrecisionName = Literal["float32", "bfloat16"]
PresetName = Literal["small", "paper", "fine"]


LAYOUT = frozenset({"mesh", "coordinator", "processes", "process", "resident"})
"""Flags that say where a run takes place: another goes on but for the order of sums."""
OF_A_RUN = LAYOUT | {
    *("root", "data", "categories", "out", "models", "cache", "weights", "resume", "smoke"),
    *("validation", "seeds"),
}
"""Flags of a run that are none of a model: where its files are, and which models there are."""


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        # A user without a name, as in a container.
        return Path()


CACHE = _home() / ".cache" / "wtflow-jax"
"""For features, downloaded weights and the built-in category."""


@dataclass(frozen=True)
class Config:
    """A run of WT-Flow over categories, one model each."""

    root: Path | None = None
    """The data set's directory; left out: a built-in category."""
    data: str = "mvtec_ad"
    """Its layout (python -m wtflow_jax.data check --help lists them), or tfds:LAYOUT."""
    categories: tuple[str, ...] = ()
    """Which of them; left out: all."""
    out: Path = Path("runs/mvtec")
    """Where results go."""
    models: Path = Path("runs/models")
    """Where trained models are kept; one that is there is not trained again."""
    preset: PresetName = "small"
    """Defaults of the other flags: small runs anywhere, paper is Sec. V-A, fine looks closer."""
    resume: bool = False
    """Add to the results in --out what they lack; start if there are none."""
    smoke: bool = False
    """A run of seconds on few images: does everything work?"""

    backbone: BackboneName = "efficientnet_lite0"
    """Frozen feature extractor."""
    weights: str | None = None
    """Its .safetensors or .pth file, or a directory of files that begin with a backbone's name;
    left out: the installed package (Lite0) or a download."""
    layer: tuple[str, ...] = ()
    """Stages (layer1 to layer3) or blocks (block0 on), one or several; left out: layer3, block7."""
    image_size: str = "512"
    """S or HxW in pixels, multiples of 32."""
    dense: bool = False
    """Four times the cells: the last pool of the features moves by one cell instead of two."""
    cache: Path = CACHE
    """Directory for features, downloaded weights and the built-in category."""

    power: float = 1.0
    """Exponent of the features before the WT map, sign(f)·|f|^power; 0.5 shortens their tail."""
    wt: WTMapName = "layer_norm"
    """WT map on the features before coupling; none is plain rFM."""
    scale: float = 1.0
    """Factor on x0 after the WT map: where the data start, for layer_norm ‖x0‖ = scale·√D."""
    alpha: float = 0.1
    """whiten: weight of the covariance of all positions beside each position's own."""
    rank: int = 64
    """whiten: principal directions kept a position."""
    target: TargetName = "gaussian"
    """Distribution of x1."""
    time_law: TimeLawName = "uniform"
    """How t is drawn in training; one-step inference only ever asks for t = 0."""
    velocity: VelocityName = "unet"
    """Velocity field: the paper's network, an MLP on single positions, or the exact field."""
    width: int = 32
    """Width of the network, NC in Table IV; a multiple of 8."""
    position: bool = False
    """Add a position embedding after its first layer."""
    input_norm: bool = False
    """Show it LN(x_t) in place of x_t: a norm layer, no WT map (Table XI: std)."""
    patches: int = 12_000
    """exact: training patches kept, at most."""
    coreset: bool = False
    """exact: keep those farthest from one another instead of a random sample."""
    neighbourhood: int | None = None
    """exact: compare with patches of a window so many cells to each side; left out: with all."""

    epochs: int = 30
    """Passes over the training images."""
    batch_size: int = 8
    """Images an optimizer step."""
    learning_rate: float = 3e-3
    """AdamW's first learning rate."""
    weight_decay: float = 0.1
    """AdamW's decoupled weight decay."""
    decay_at: tuple[float, ...] = (0.4, 0.8)
    """Fractions of the run at which the learning rate is divided by ten."""
    eval_every: int = 1
    """Epochs between evaluations, counted back from the last epoch."""
    eval_from: float = 1.0
    """Fraction of the run after which they begin; the last ten are evaluated in any case."""

    solver: SolverName = "euler"
    """ODE solver of inference, in equal steps."""
    start: float = 0.0
    """Time T at which transport starts, from (1 − T)·x0."""
    residual: bool = False
    """Score T·(x0 + the mean velocity from T on): for one step the residual x0 − E[x0 | x_T]."""
    steps_det: int = 20
    """Solver steps for the image score."""
    steps_loc: int = 1
    """Solver steps for the anomaly map."""
    score: ScoreName = "density"
    """Of an element φ of the endpoint: Eq. 2, or φ²/2, which goes on growing far out."""
    top_fraction: float = 0.03
    """Share of pixels whose mean is the image score; 0 takes the highest one."""
    centres: Literal["true", "half_pixel"] = "true"
    """Where the cells of a map sit in the image; pixel AUROC is reported for both."""
    validation: float = 0.0
    """Share of training images held out to set the threshold, where a data set has none for it."""
    false_alarms: float = 0.05
    """Share of good images that the threshold may call defective."""
    seed: int = 0
    """Decides initial weights, order and noise."""
    seeds: int = 1
    """How many seeds to run, from --seed on."""

    precision: PrecisionName = "float32"
    """What the network computes with; weights and optimizer state are float32 in any case."""
    resident: float = 0.5
    """Share of memory for training features, before and after the WT map; more are streamed."""
    mesh: tuple[int, int] = (1, 1)
    """Devices that train: along how many the batch alone is split, and over how many the state."""
    coordinator: str | None = None
    """host:port of process 0 where several train; auto asks SLURM, Open MPI or Kubernetes."""
    processes: int = 1
    """How many processes there are."""
    process: int = 0
    """Which one this is, from 0."""

    def check(self) -> None:
        """Raise WTFlowError if a value is out of its range."""
        ranges = {
            "power": (
                1e-3 <= self.power <= 10,
                "at least 0.001 and at most 10: others round features to 1, or leave float32",
            ),
            "scale": (
                1e-12 <= self.scale <= 1e12,
                "at least 1e-12 and at most 1e12: squares leave float32",
            ),
            "alpha": (
                1e-6 <= self.alpha <= 1,
                "at least 1e-06 and at most 1: less is lost in rounding",
            ),
            "rank": (self.rank >= 1, "at least 1"),
            "patches": (self.patches >= 1, "at least 1"),
            # Earlier times are one to the exact field, and 1 − 2⁻²⁵ is 1 in float32.
            "start": (
                self.start == 0 or 1e-4 <= self.start < 1 - 2**-25,
                "0, or at least 0.0001 and below 1 in float32",
            ),
            "width": (self.width > 0 and self.width % 8 == 0, "a positive multiple of 8"),
            "epochs": (self.epochs >= 1, "at least 1"),
            "batch_size": (self.batch_size >= 1, "at least 1"),
            "eval_every": (self.eval_every >= 1, "at least 1"),
            "eval_from": (0 <= self.eval_from <= 1, "between 0 and 1"),
            "steps_det": (1 <= self.steps_det <= 10_000, "at least 1 and at most 10000"),
            "steps_loc": (1 <= self.steps_loc <= 10_000, "at least 1 and at most 10000"),
            "top_fraction": (0 <= self.top_fraction <= 1, "at least 0 and at most 1"),
            "learning_rate": (
                1e-30 <= self.learning_rate <= 1e30,
                "at least 1e-30 and at most 1e30: others leave float32",
            ),
            "weight_decay": (
                0 <= self.weight_decay <= 1e30,
                "at least 0 and at most 1e30: others leave float32",
            ),
            "decay_at": (all(0 <= at <= 1 for at in self.decay_at), "fractions between 0 and 1"),
            "validation": (0 <= self.validation < 1, "at least 0 and below 1"),
            "false_alarms": (1e-9 <= self.false_alarms < 1, "at least 1e-09 and below 1"),
            "resident": (0 <= self.resident <= 1, "at least 0 and at most 1"),
            "coordinator": (_address(self.coordinator), "host:port, or auto"),
            "processes": (
                self.processes == 1 or (self.processes > 1 and self.coordinator is not None),
                "1, or more with --coordinator",
            ),
            "mesh": (min(self.mesh) >= 1, "at least 1 1"),
            "process": (0 <= self.process < self.processes, "at least 0 and below --processes"),
            "seeds": (self.seeds >= 1, "at least 1"),
            "seed": (0 <= self.seed < 2**31, "at least 0 and below 2147483648"),
        }
        for name, (holds, allowed) in ranges.items():
            if not holds:
                flag = "--" + name.replace("_", "-")
                value = getattr(self, name)
                parts = value if isinstance(value, tuple) else (value,)
                shown = " ".join(f"{x:g}" if isinstance(x, float) else str(x) for x in parts)
                raise WTFlowError(f"{flag} {shown}: give {allowed}")
        if self.batch_size % prod(self.mesh):
            raise WTFlowError(
                f"--batch-size {self.batch_size}: give a multiple of the {prod(self.mesh)} devices "
                "of --mesh"
            )
        if self.neighbourhood is not None and self.neighbourhood < 0:
            raise WTFlowError(f"--neighbourhood {self.neighbourhood}: give at least 0")
        if self.neighbourhood is not None and self.coreset:
            raise WTFlowError("--coreset: a neighbourhood has none; leave --neighbourhood away")
        if self.residual and self.start == 0:
            raise WTFlowError(
                "--residual: is zero at --start 0; give a later start or --no-residual"
            )
        if self.velocity == "exact" and self.input_norm:
            raise WTFlowError("--input-norm: the exact field has no layers; leave it away")
        if self.velocity == "exact" and self.target != "gaussian":
            raise WTFlowError(
                f"--target {self.target}: its exact field has no closed form; "
                "give --target gaussian, or another --velocity"
            )


def _address(coordinator: str | None) -> bool:
    if coordinator in (None, "auto"):
        return True
    host, _, port = coordinator.rpartition(":")
    return bool(host) and port.isdecimal() and 0 < int(port) < 2**16


def defaults(given: Config) -> Config:
    """Return the defaults that flags are read on top of.

    Args:
        given: a config read from the same flags; what else is default depends on its ``preset``,
            ``backbone``, ``wt``, ``velocity`` and ``smoke``. In the paper's headline rows the
            position embedding is on for none and batch_norm and off for layer_norm (Table IV).
    """
    preset, wt, velocity, smoke = given.preset, given.wt, given.velocity, given.smoke
    config = Config(preset=preset, backbone=given.backbone, wt=wt, velocity=velocity, smoke=smoke)
    if preset == "fine":
        # A ResNet's features are rectified; Lite0's have both signs, and a root would part them.
        lite = given.backbone == "efficientnet_lite0"
        config = replace(
            config,
            layer=("block2", "block4", "block7") if lite else ("layer1", "layer2", "layer3"),
            image_size="576",
            dense=True,
            power=1.0 if lite else 0.5,
            score="log_density",
            top_fraction=0.0,
        )
    if preset == "paper":
        config = replace(
            config,
            backbone="wide_resnet50_2",
            width=768,
            position=wt != "layer_norm",
            epochs=100,
            learning_rate=2e-4,
            decay_at=(0.25, 0.5, 0.75),
        )
    if velocity == "patch":
        config = replace(config, width=256, position=True, epochs=20, steps_det=1)
        start, residual = (0.1, True) if wt == "whiten" else (0.3, False)
        config = replace(config, start=start, residual=residual)
    if velocity == "exact":
        start = 0.05 if wt == "whiten" else 0.02
        config = replace(config, start=start, residual=True, steps_det=1)
    if smoke:
        config = replace(
            config, image_size="128", width=16, epochs=2, steps_det=min(config.steps_det, 2)
        )
    return config


def variant(config: Config, **changes: Any) -> Config:
    """Return a config with other choices, and the defaults that follow from them.

    Args:
        config: the run's; what differs from its own defaults was asked for, and stays.
        changes: fields by name, ``wt`` and ``velocity`` for instance.
    """
    before = defaults(config)
    asked = {
        field.name: getattr(config, field.name)
        for field in fields(Config)
        if getattr(config, field.name) != getattr(before, field.name)
    }
    return replace(defaults(replace(config, **changes)), **(asked | changes))
