"""Flags as a config: presets, defaults of parts, variants, ranges, and the way through JSON."""

import ast
import json
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from raising import fails

import wtflow_jax
from wtflow_jax.backbones import BACKBONES, parse_layers
from wtflow_jax.detector.config import GROUPS, TABLES, configure
from wtflow_jax.flow.maps import MAPS
from wtflow_jax.flow.maps.kinds import ByKind
from wtflow_jax.flow.maps.stages import ByStage
from wtflow_jax.flow.maps.whitening import Whiten
from wtflow_jax.flow.targets import TARGETS
from wtflow_jax.lab import flags
from wtflow_jax.velocities import VELOCITIES
from wtflow_jax.velocities.exact import Exact
from wtflow_jax.velocities.patch import Patch
from wtflow_jax.velocities.unet import UNet

PACKAGE = Path(wtflow_jax.__file__).parent


def test_what_is_asked_for_comes_first_then_the_part_then_the_preset():
    plain = configure()
    assert (plain.velocity, plain.training.epochs, plain.inference.steps_det) == (UNet(), 30, 20)
    patch = configure(velocity="patch", wt="whiten", epochs=7)
    assert (patch.velocity, patch.wt) == (Patch(), Whiten())
    assert (patch.training.epochs, patch.inference.start, patch.inference.residual) == (
        7,
        0.1,
        True,
    )
    asked = configure(velocity="exact", patches=5, residual=False, start=0.25, alpha=0.5)
    assert asked.velocity == Exact(patches=5)
    assert (asked.inference.start, asked.inference.residual) == (0.25, False)
    # Of a map that is not chosen: kept, for a variant that chooses it.
    assert asked.but(wt="whiten").wt == Whiten(alpha=0.5)


def test_the_papers_setting():
    paper = configure(preset="paper")
    assert paper.velocity == UNet(width=768, position=False)
    training = paper.training
    assert (training.epochs, training.learning_rate, training.batch_size) == (100, 2e-4, 8)
    assert training.decay_at == (0.25, 0.5, 0.75)
    assert (paper.features.backbone, paper.decision.top_fraction) == ("wide_resnet50_2", 0.03)
    assert (paper.inference.steps_det, paper.inference.steps_loc) == (20, 1)
    # Table IV: the headline rows of the other two have a position embedding.
    for wt, position in (("none", True), ("batch_norm", True), ("layer_norm", False)):
        assert configure(preset="paper", wt=wt).velocity.position is position
    assert configure(preset="paper", width=512).velocity.width == 512


@pytest.mark.parametrize("preset", ["auto", "fine"])
@pytest.mark.parametrize("backbone", list(BACKBONES))
def test_a_map_a_stage_of_any_backbone(backbone, preset):
    found, network = configure(preset=preset, backbone=backbone), BACKBONES[backbone]
    found.check()
    assert found.features.layer == (network.several if network.pooled else ())
    dense = preset == "fine" and network.pooled
    assert (found.features.dense, found.score.__name__) == (dense, "density")
    assert found.features.size == (network.sizes[preset == "fine"],) * 2
    assert found.flow.power == (0.5 if network.rectified else 1.0)
    assert found.velocity == VELOCITIES.make("none")
    one = ByKind(MAPS.make("whiten", {"alpha": 0.0, "rank": 0, "near": 0.125}))
    channels = tuple(
        network.channels(parse_layers(backbone, layer)[0]) for layer in network.several
    )
    assert found.wt == (ByStage(one, channels) if network.pooled else one)
    # One stage needs no map of its own, and what is asked for stays.
    own = configure(preset=preset, backbone=backbone, layer=(), wt="layer_norm", velocity="unet")
    assert own.wt == MAPS.make("layer_norm")
    assert own.velocity.trained


@pytest.mark.parametrize("backbone", list(BACKBONES))
def test_sizes_are_those_that_a_backbone_takes(backbone):
    network = BACKBONES[backbone]
    for preset, side in zip(("small", "paper", "fine"), (0, 0, 1), strict=True):
        config = configure(preset=preset, backbone=backbone)
        config.check()
        assert config.features.size == (network.sizes[side],) * 2
    smoke = configure(backbone=backbone, smoke=True).features.size[0]
    assert smoke % network.multiple == 0
    assert abs(smoke - 128) < network.multiple


def test_a_size_or_pool_that_a_backbone_has_not():
    assert configure(image_size="512").features.size == (512, 512)
    with fails("image size '512': dinov2_vits14 takes multiples of 14; give 504 or 518"):
        configure(backbone="dinov2_vits14", image_size="512").check()
    with fails("--dense: features of dinov3_vits16 are not pooled; leave it out"):
        configure(backbone="dinov3_vits16", dense=True).check()


def test_a_variant_takes_the_defaults_of_its_own_parts():
    unet = configure(preset="paper", epochs=9)
    exact = unet.but(velocity="exact", wt="whiten")
    assert exact == configure(preset="paper", epochs=9, velocity="exact", wt="whiten")
    assert (exact.inference.start, unet.inference.start) == (0.05, 0.0)
    assert exact.but(velocity="unet", wt="layer_norm") == unet
    small = configure(smoke=True)
    assert small.but(wt="none").velocity.width == small.velocity.width == 16
    assert small.but() == small


EVERY = [{parts.flag: name} for parts in TABLES for name in parts]
EVERY += [asked | {"preset": "fine", "decay_at": (0.2, 0.3), "smoke": True} for asked in EVERY]
EVERY += [{"preset": "paper", "velocity": "exact", "neighbourhood": 2, "wt": "whiten", "rank": 3}]


@pytest.mark.parametrize("asked", EVERY, ids=str)
def test_flags_go_through_json(asked):
    config = configure(**asked)
    found = json.loads(json.dumps(config.flags()))
    again = configure(**found)
    assert again.flags() == config.flags()
    for part in ("wt", "velocity", "target", "time_law", "loss", "coupling", "solver", "score"):
        assert getattr(again, part) == getattr(config, part)
    for group in GROUPS:
        assert getattr(again, group) == getattr(config, group)
    assert hash(again) == hash(configure(**found))


def test_options_of_what_is_chosen_are_among_the_flags():
    def options(**asked):
        plain = {f.name for group in GROUPS.values() for f in fields(group)}
        return set(configure(**asked).flags()) - plain - {"preset"}

    network = {"width", "position", "input_norm", "precision"}
    assert options() == network
    assert options(wt="whiten") == network | {"alpha", "rank", "near"}
    assert options(velocity="exact") == {"patches", "coreset", "neighbourhood"}


def test_every_option_of_every_part_is_a_flag_of_experiments():
    known = flags.known()
    assert len(set(known)) == len(known)
    for parts in TABLES:
        assert parts.flag in known
        for name in parts:
            assert set(parts.options(name)) <= set(known)
            assert all(is_dataclass(parts[name]) or not parts.options(name) for name in parts)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"epochs": 0}, "--epochs 0: give at least 1"),
        ({"decay_at": (0.5, 1.5)}, "--decay-at 0.5 1.5: give at least 0 and at most 1"),
        ({"seed": 2**31}, "--seed 2147483648: give at least 0 and at most 2147483647"),
        ({"top_fraction": 1.5}, "--top-fraction 1.5: give at least 0 and at most 1"),
        ({"false_alarms": 0.0}, "--false-alarms 0: give at least 1e-09"),
        ({"steps_det": 0}, "--steps-det 0: give at least 1"),
        ({"width": 12}, "--width 12: give at least 8 and a multiple of 8"),
        ({"width": 0}, "--width 0: give at least 8"),
        ({"wt": "whiten", "alpha": 1e-7}, "--alpha 1e-07: give at least 1e-06, or 0"),
        ({"velocity": "exact", "patches": 0}, "--patches 0: give at least 1"),
        ({"velocity": "exact", "neighbourhood": -1}, "--neighbourhood -1: give at least 0"),
        ({"start": 1e-5}, "--start 1e-05: give 0, or at least 0.0001"),
        ({"pose": "on"}, "--pose on: give off or auto"),
        ({"residual": True}, "--residual: is zero at --start 0; give a later start"),
        ({"velocity": "exact", "target": "point"}, "--target point: its exact field has no closed"),
        ({"velocity": "exact", "coreset": True, "neighbourhood": 1}, "--coreset: does not go with"),
    ],
    ids=str,
)
def test_what_is_out_of_range_is_one_line(asked, said):
    with fails(said):
        configure(**asked).check()


@pytest.mark.parametrize(
    "asked",
    [
        {"scale": 1e30},
        {"scale": 1e-30},
        {"scale": float("nan")},
        {"power": 1e-30},
        {"power": 30.0},
        {"alpha": 1e-30, "wt": "whiten"},
        {"start": 0.99999999},
        {"start": float("nan")},
        {"learning_rate": 1e-45},
        {"learning_rate": 1e31},
        {"weight_decay": float("inf")},
        {"decay_at": (0.1, float("nan"))},
        {"top_fraction": float("nan")},
    ],
    ids=str,
)
def test_values_that_float32_cannot_hold_are_refused(asked):
    name = next(iter(asked)).replace("_", "-")
    with fails(f"--{name} .*: give at least"):
        configure(**asked).check()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"widht": 8}, "--widht: no such flag"),
        ({"wt": "layernorm"}, "--wt layernorm: no such choice; take one of none, batch_norm"),
        ({"velocity": "resnet"}, "--velocity resnet: no such choice; take one of"),
        ({"backbone": "vgg"}, "--backbone vgg: no such choice"),
        ({"solver": "rk4"}, "--solver rk4: no such choice; take one of euler"),
        ({"loss": "mse"}, "--loss mse: no such choice"),
        (
            {"preset": "large"},
            "--preset large: no such choice; take one of auto, fine, small, paper",
        ),
    ],
    ids=str,
)
def test_what_does_not_exist_is_one_line(asked, said):
    with fails(said):
        configure(**asked).check()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("alpha", "--target bent: rename its option alpha, that of --wt whiten"),
        ("seed", "--target bent: rename its option seed, that of a flag"),
    ],
)
def test_options_have_names_of_their_own(name, said, monkeypatch):
    class Bent:
        __annotations__: ClassVar = {name: float}

    setattr(Bent, name, 1.0)
    monkeypatch.setitem(TARGETS._entries, "bent", dataclass(frozen=True)(Bent))
    for refused in (configure, flags.known):
        with fails(said):
            refused()


def chosen_by_name():
    """Names of parts, and those that mean nothing else."""
    return {"whiten", "exact", "unet", "patch", "efficientnet_lite0"} | set(MAPS) | set(VELOCITIES)


@pytest.mark.parametrize("folder", [PACKAGE, PACKAGE.parent / "experiments"], ids=lambda p: p.name)
def test_nothing_compares_the_name_of_a_part(folder):
    """A part owns what it does: adding one is adding a file."""
    # One of the targets is called gaussian, too.
    names, found = chosen_by_name() - {"none", "gaussian"}, []
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            sides = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
            if isinstance(node, ast.MatchValue):
                sides = [node.value]
            for side in sides:
                texts = {n.value for n in ast.walk(side) if isinstance(n, ast.Constant)}
                if names & {text for text in texts if isinstance(text, str)}:
                    found.append(f"{path.relative_to(folder)}:{node.lineno}")
    assert found == []
