"""All settings of a model: groups of flags, and parts that own their options.

``configure`` makes a config: given flags override the defaults of the preset and of the chosen
parts. A config keeps the given flags, so a variant of it (``Config.but``) takes the defaults of its
own parts.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, ClassVar, Literal

from wtflow_jax.backbones import BACKBONES, parse_layers
from wtflow_jax.data import parse_size
from wtflow_jax.flow.couplings import COUPLINGS
from wtflow_jax.flow.loss import LOSSES
from wtflow_jax.flow.maps import MAPS, WTMap
from wtflow_jax.flow.maps.kinds import ByKind
from wtflow_jax.flow.maps.stages import ByStage
from wtflow_jax.flow.maps.whitening import Whiten
from wtflow_jax.flow.ode import SOLVERS
from wtflow_jax.flow.paths import TIME_LAWS
from wtflow_jax.flow.scores import SCORES
from wtflow_jax.flow.targets import TARGETS
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.support.helptext import arg
from wtflow_jax.support.parts import Parts, check_ranges
from wtflow_jax.velocities import VELOCITIES, Velocity


# Quoted annotations below: files of ``WTFLOW_PARTS`` are imported only when flags are parsed.
def choice(parts: Parts[Any]) -> Any:
    """Return the annotation of a flag that chooses a part; ``--help`` lists the parts."""
    return arg(metavar="{" + ",".join(parts) + "}")


POSES = "off", "auto"


@dataclass(frozen=True)
class Features:
    """Features of the images."""

    backbone: "Annotated[str, choice(BACKBONES)]" = "efficientnet_lite0"
    """Frozen feature extractor."""
    layer: Annotated[tuple[str, ...], arg(metavar="[LAYER [LAYER ...]]")] = ()
    """Stages (layer1 to layer3) or blocks (block0 on), one or several; left out: layer3, block7."""
    image_size: str = "512"
    """S or HxW in pixels, multiples of 32 (dinov2 14, dinov3 16); these two default to 448."""
    dense: bool = False
    """Four times the cells: the last pooling has stride 1 instead of 2."""
    pose: Annotated[str, arg(metavar="{" + ",".join(POSES) + "}")] = "off"
    """auto turns images by the principal axis of the object, if objects lie at all angles."""
    jitter: float = 0.0
    """Largest change of the light of 64 training images; 0.15 multiplies them by 0.85 to 1.15."""

    RANGES: ClassVar = {"jitter": (0, 0.9)}

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of images; WTFlowError if the backbone does not take them."""
        return parse_size(self.image_size, BACKBONES.make(self.backbone).multiple, self.backbone)

    def check(self) -> None:
        """Raise WTFlowError if the backbone does not take a size or --dense, or pose is unknown."""
        if self.pose not in POSES:
            raise WTFlowError(f"--pose {self.pose}: give {' or '.join(POSES)}")
        if self.size and self.dense and not BACKBONES.make(self.backbone).pooled:
            raise WTFlowError(
                f"--dense: features of {self.backbone} are not pooled; leave it out, or give a "
                "larger --image-size"
            )


@dataclass(frozen=True)
class Flow:
    """What is learned: WT map, target, loss and velocity."""

    power: float = 1.0
    """Exponent of the features before the WT map, sign(f)·|f|^power; 0.5 shortens their tail."""
    wt: "Annotated[str, choice(MAPS)]" = "layer_norm"
    """WT map on the features before coupling; none is plain rFM."""
    by_stage: bool = False
    """A WT map and a score for each layer of the features."""
    by_kind: bool = False
    """whiten each kind of image separately, if positions are pooled and likelihood is higher."""
    scale: float = 1.0
    """Factor on x0 after the WT map; for layer_norm ‖x0‖ = scale·√D."""
    target: "Annotated[str, choice(TARGETS)]" = "gaussian"
    """Distribution of x1."""
    time_law: "Annotated[str, choice(TIME_LAWS)]" = "uniform"
    """Distribution of t in training; one Euler step from t = 0 uses t = 0 only."""
    loss: "Annotated[str, choice(LOSSES)]" = "rfm"
    """Loss of one sample; rfm is the paper's squared error of the velocity."""
    coupling: "Annotated[str, choice(COUPLINGS)]" = "independent"
    """How samples are paired with the x1 of their minibatch in training."""
    velocity: "Annotated[str, choice(VELOCITIES)]" = "unet"
    """Velocity field: the paper's network, an MLP on single positions, or an exact field."""

    RANGES: ClassVar = {"power": (1e-3, 10), "scale": (1e-12, 1e12)}


@dataclass(frozen=True)
class Training:
    """How a network is trained, and when it is evaluated."""

    epochs: int = 30
    """Passes over the training images."""
    batch_size: int = 8
    """Images per optimizer step."""
    learning_rate: float = 3e-3
    """AdamW's initial learning rate."""
    weight_decay: float = 0.1
    """AdamW's decoupled weight decay."""
    decay_at: tuple[float, ...] = (0.4, 0.8)
    """Fractions of the run at which the learning rate is divided by ten."""
    eval_every: int = 1
    """Epochs between evaluations, counted back from the last epoch."""
    eval_from: float = 1.0
    """Fraction of the run before evaluations begin; the last ten are always made."""
    seed: int = 0
    """Random seed of initial weights, order and noise."""

    RANGES: ClassVar = {
        "epochs": (1, None),
        "batch_size": (1, None),
        "learning_rate": (1e-30, 1e30),
        "weight_decay": (0, 1e30),
        "decay_at": (0, 1),
        "eval_every": (1, None),
        "eval_from": (0, 1),
        "seed": (0, 2**31 - 1),
    }


@dataclass(frozen=True)
class Inference:
    """How the flow is solved, and how cells of its endpoint are scored."""

    solver: "Annotated[str, choice(SOLVERS)]" = "euler"
    """ODE solver of inference, in equal steps."""
    start: float = 0.0
    """Time T at which transport starts, from (1 − T)·x0."""
    residual: bool = False
    """Score T·(x0 + the mean velocity from T on): for one step the residual x0 − E[x0 | x_T]."""
    steps_det: int = 20
    """Solver steps for the image score."""
    steps_loc: int = 1
    """Solver steps for the anomaly map."""
    score: "Annotated[str, choice(SCORES)]" = "density"
    """Score of a cell φ: the mean of Eq. 2, or of φ²/2, which does not saturate."""

    # Later times round to 1 in float32.
    RANGES: ClassVar = {
        "start": (0, 1 - 2**-24),
        "steps_det": (1, 10_000),
        "steps_loc": (1, 10_000),
    }


@dataclass(frozen=True)
class Decision:
    """From scores of cells to maps, image scores and a threshold."""

    top_fraction: float = 0.03
    """Share of highest pixels whose mean is the image score; 0 takes the maximum."""
    centres: Literal["true", "half_pixel"] = "true"
    """Where the cells of a map sit in the image; pixel AUROC is reported for both."""
    blur: float = 0.0
    """Standard deviation in pixels of a Gaussian filter of the maps; 0: none."""
    false_alarms: float = 0.01
    """Share of good images that the threshold may call defective."""

    RANGES: ClassVar = {
        "top_fraction": (0, 1),
        "blur": (0, 1000),
        "false_alarms": (1e-9, 1 - 1e-9),
    }


GROUPS = {of.__name__.lower(): of for of in (Features, Flow, Training, Inference, Decision)}
TABLES = BACKBONES, MAPS, TARGETS, TIME_LAWS, LOSSES, COUPLINGS, VELOCITIES, SOLVERS, SCORES
"""The tables that a config chooses one part from, each by its flag."""


def _chosen(parts: Parts[Any]) -> Any:
    """Return a property of a config: the part that it chose from a table."""
    return property(lambda config: parts.make(_flat(config)[parts.flag], dict(config.options)))


@dataclass(frozen=True)
class Config:
    """All settings of a model. Hashable, as is each group: static arguments of jitted functions.

    Attributes:
        preset: name of the set of defaults.
        options: options of parts, as pairs of name and value.
        asked: the given flags, as pairs of name and value.
        velocity: the chosen part; likewise ``target``, ``time_law``, ``loss``, ``coupling``,
            ``solver``, ``score``.
    """

    preset: str = "small"
    features: Features = Features()
    flow: Flow = Flow()
    training: Training = Training()
    inference: Inference = Inference()
    decision: Decision = Decision()
    options: tuple[tuple[str, Any], ...] = ()
    asked: tuple[tuple[str, Any], ...] = field(default=(), compare=False)

    velocity = _chosen(VELOCITIES)
    target = _chosen(TARGETS)
    time_law = _chosen(TIME_LAWS)
    loss = _chosen(LOSSES)
    coupling = _chosen(COUPLINGS)
    solver = _chosen(SOLVERS)
    score = _chosen(SCORES)

    @property
    def wt(self) -> WTMap:
        """The WT map."""
        asked, options = self.features, dict(self.options)
        one = MAPS.make(self.flow.wt, options)
        if self.flow.by_kind and isinstance(one, Whiten):
            one = ByKind(one)
        if not self.flow.by_stage:
            return one
        network = BACKBONES.make(asked.backbone, options)
        layers = parse_layers(asked.backbone, asked.layer)
        return ByStage(one, tuple(map(network.channels, layers))) if len(layers) > 1 else one

    def but(self, **changes: Any) -> "Config":
        """Return a config with other choices, and the defaults that follow from them."""
        return configure(**(dict(self.asked) | changes))

    @property
    def backbone_options(self) -> tuple[tuple[str, Any], ...]:
        """Options of the backbone, by name."""
        own = BACKBONES.options(self.features.backbone)
        return tuple((name, value) for name, value in self.options if name in own)

    def flags(self) -> dict[str, Any]:
        """Return the value of every flag that decides the model, options of its parts included."""
        options = {o: getattr(made, o) for own, made in _parts(self) for o in own}
        return {"preset": self.preset, **_flat(self), **options}

    def check(self) -> None:
        """Raise WTFlowError if a value is out of its range, or two values contradict each other."""
        for part in (*(getattr(self, group) for group in GROUPS), *(p for _, p in _parts(self))):
            check_ranges(part)
        self.features.check()
        start, later = self.inference.start, "give a later start or --no-residual"
        if 0 < start < 1e-4:
            raise WTFlowError(f"--start {start:g}: give 0, or at least 0.0001")
        if self.inference.residual and start == 0:
            raise WTFlowError(f"--residual: is zero at --start 0; {later}")
        if self.flow.target != Flow.target and not self.velocity.any_target:
            raise WTFlowError(
                f"--target {self.flow.target}: its exact field has no closed form; "
                f"give --target {Flow.target}, or another --velocity"
            )


def _flat(config: Config) -> dict[str, Any]:
    return {
        f.name: getattr(getattr(config, name), f.name)
        for name, group in GROUPS.items()
        for f in fields(group)
    }


def _parts(config: Config) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each chosen part, after the names of its options."""
    values, options = _flat(config), dict(config.options)
    for parts in TABLES:
        name = values[parts.flag]
        yield parts.options(name), parts.make(name, options)


def options(taken: Iterable[str] = ()) -> dict[str, tuple[str, type]]:
    """Return, by option, the base class that defines it, after a title made of flag and class.

    Raises:
        WTFlowError: an option has the name of a flag, of ``taken``, or of another part's option.
    """
    flags = (*taken, *_flat(Config()), "preset")
    known: dict[str, tuple[str, Any, str]] = {name: ("", None, "a flag") for name in flags}
    for parts in TABLES:
        for part, entry in parts.items():
            for option in parts.options(part):
                own = next(base for base in reversed(entry.__mro__) if hasattr(base, option))
                title, here = f"{parts.flag}_{own.__name__}".lower(), f"{_flag(parts.flag)} {part}"
                _, owner, other = known.setdefault(option, (title, own, here))
                if owner is not own:
                    raise WTFlowError(f"{here}: rename its option {option}, that of {other}")
    return {option: (title, owner) for option, (title, owner, _) in known.items() if owner}


def check_used(asked: Iterable[str], configs: Iterable[Config]) -> None:
    """Raise WTFlowError if a given option belongs to no chosen part."""
    if unused := set(asked) & options().keys() - {flag for one in configs for flag in one.flags()}:
        option = min(unused)
        owners = [part for parts in TABLES for part in parts if option in parts.options(part)]
        raise WTFlowError(
            f"{_flag(option)}: is an option of {', '.join(owners)}, which is not run; "
            "choose it, or leave the flag out"
        )


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _preset(preset: str, backbone: str) -> dict[str, Any]:
    network = BACKBONES.make(backbone)
    paper: dict[str, Any] = {"backbone": "wide_resnet50_2", "width": 768}
    paper |= {"epochs": 100, "learning_rate": 2e-4, "decay_at": (0.25, 0.5, 0.75)}
    side, closer = map(str, network.sizes)
    # For transformers only the last block, as in training-free detectors.
    layer = network.several if network.pooled else ()
    auto: dict[str, Any] = {"layer": layer, "by_stage": True, "by_kind": True}
    # A root is steep at 0: it would split features that have both signs.
    auto |= {"power": 0.5 if network.rectified else 1.0, "wt": "whiten", "alpha": 0.0, "rank": 0}
    auto |= {"near": 0.125}
    auto |= {"velocity": "none", "top_fraction": 0.003, "pose": "auto", "jitter": 0.15}
    auto |= {"blur": 4.0}
    fine = auto | {"image_size": closer, "dense": network.pooled}
    presets = {"auto": auto, "fine": fine, "small": {}, "paper": paper}
    if preset not in presets:
        raise WTFlowError(f"--preset {preset}: no such choice; take one of {', '.join(presets)}")
    return {"image_size": side} | presets[preset]


def configure(*, smoke: bool = False, **asked: Any) -> Config:
    """Return the config of the given flags.

    Args:
        smoke: small values, for a run of seconds.
        asked: flags by name, as on a command line, ``wt="whiten"``. ``preset`` sets the defaults
            of the others: ``small`` trains a network on any machine, ``paper`` is Sec. V-A,
            ``auto`` trains nothing and chooses by the good images, ``fine`` is ``auto`` with more
            pixels and cells.

    Raises:
        WTFlowError: a flag or a choice that does not exist.
    """
    preset = asked.get("preset", "small")
    known = options()
    if unknown := asked.keys() - _flat(Config()).keys() - known.keys() - {"preset"}:
        raise WTFlowError(f"{_flag(min(unknown))}: no such flag")
    backbone = asked.get("backbone", Features.backbone)
    values = _preset(preset, backbone)
    usual = {"wt": Flow.wt, "velocity": Flow.velocity} | values | asked
    wt: WTMap = MAPS.make(usual["wt"])
    velocity: Velocity = VELOCITIES.make(usual["velocity"])
    values |= velocity.usual(wt)
    if preset == "paper":
        values["position"] = wt.position
    if smoke:
        steps = min(values.get("steps_det", Inference.steps_det), 2)
        multiple = BACKBONES.make(backbone).multiple
        side = str(multiple * round(128 / multiple))
        values |= {"image_size": side, "width": 16, "epochs": 2, "steps_det": steps}
    if isinstance(side := asked.get("image_size"), int):
        asked["image_size"] = str(side)
    # JSON has no tuples, only lists.
    asked = {k: tuple(v) if isinstance(v, list) else v for k, v in asked.items()}
    values |= {k: v for k, v in asked.items() if k != "preset"}
    groups: dict[str, Any] = {
        name: group(**{k: v for k, v in values.items() if k in group.__dataclass_fields__})
        for name, group in GROUPS.items()
    }
    return Config(
        preset=preset,
        **groups,
        options=tuple(sorted((k, v) for k, v in values.items() if k in known)),
        asked=tuple(asked.items()) + (("smoke", True),) * smoke,
    )
