"""The command line of experiments: flags of parts, wrong flags, and --help."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from raising import fails
from running import EXPERIMENTS, load

from wtflow_jax.detector.config import configure
from wtflow_jax.flow.maps.norms import LayerNorm
from wtflow_jax.flow.maps.whitening import Whiten
from wtflow_jax.lab import flags
from wtflow_jax.velocities.exact import Exact
from wtflow_jax.velocities.unet import UNet

PLAIN = {"": {}}


def parse(*words, **given):
    return flags.parse([*map(str, words)], given, "described")


def test_flags_become_a_setup():
    found = parse("--epochs", 3, "--root", "data", "--categories", "a", "b", "--seeds=2", "--smoke")
    assert (found.data.root, found.data.categories) == (Path("data"), ("a", "b"))
    assert (found.run.seeds, found.run.smoke) == (2, True)
    assert found.asked == {"epochs": 3}
    config = found.config()
    assert config == configure(smoke=True, epochs=3)
    assert (config.training.epochs, config.features.image_size) == (3, "128")
    assert found.flags()["width"] == 16
    assert found.config(wt="none").flow.wt == "none"


def test_flags_win_over_the_preset_and_the_experiment():
    paper = parse("--preset", "paper", "--width", 512).config()
    assert paper.velocity == UNet(width=512)
    assert (paper.features.backbone, paper.training.epochs) == ("wide_resnet50_2", 100)
    assert not parse("--preset", "paper").config().velocity.position
    assert parse("--preset", "paper", "--wt", "none").config().velocity.position
    given = {"velocity": "exact", "wt": "whiten", "seeds": 3}
    assert parse(**given).config().wt == Whiten()
    # A flag set to its default counts as given.
    asked = parse("--wt", "layer_norm", "--velocity=unet", **given)
    assert (asked.config().wt, asked.config().velocity) == (LayerNorm(), UNet())
    assert (asked.run.seeds, parse("--seeds", 1, **given).run.seeds) == (3, 1)
    exact = load("exact_field").parse(["--patches", "5"])
    assert (exact.config().velocity, exact.run.out) == (Exact(patches=5), Path("runs/exact_field"))


@pytest.mark.parametrize("word", ["--no-residual", "--no-coreset", "--no-dense"])
def test_what_is_switched_off(word):
    name = word.removeprefix("--no-")
    found = parse("--velocity", "exact", word)
    assert found.asked == {"velocity": "exact", name: False}
    assert found.config().flags()[name] is False
    assert parse("--velocity", "exact").config().flags()["residual"] is True
    assert parse("--velocity", "exact", f"--{name}").config().flags()[name] is True


def test_names_may_be_written_with_underscores():
    assert parse("--batch_size", 3, "--no-input_norm").asked == {
        "batch_size": 3,
        "input_norm": False,
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--alpha", "0.5"], "--alpha: is an option of whiten, which is not run; choose it, or"),
        (["--patches", "5"], "--patches: is an option of exact, which is not run"),
        (
            ["--velocity", "exact", "--width", "8"],
            "--width: is an option of patch, unet|unet, patch",
        ),
        (["--no-position", "--velocity", "exact"], "--position: is an option of "),
        (["--width", "9"], "--width 9: give at least 8 and a multiple of 8"),
        (["--epochs", "0"], "--epochs 0: give at least 1"),
        (["--validation", "1"], "--validation 1: give at least 0 and at most 0.999999999"),
        (["--seeds", "0"], "--seeds 0: give at least 1"),
        (["--resident", "2"], "--resident 2: give at least 0 and at most 1"),
        (["--mesh", "2", "0"], "--mesh 2 0: give at least 1"),
        (["--mesh", "3", "1"], "--batch-size 8: give a multiple of the 3 devices of --mesh"),
        (["--processes", "2"], "--processes 2: give 1, or more with --coordinator"),
        (["--coordinator", "host"], "--coordinator host: give host:port, or auto"),
        (["--coordinator", "host:99999"], "--coordinator host:99999: give host:port, or auto"),
        (["--coordinator", "a:1", "--process", "1"], "--process 1: give at least 0 and below"),
        (["--wt", "layernorm"], "--wt layernorm: no such choice; take one of none, batch_norm"),
    ],
    ids=str,
)
def test_what_cannot_be_is_one_line(words, said):
    with fails(said):
        flags.check(parse(*words), PLAIN)


def test_an_option_of_some_variant_is_no_mistake():
    """Each variant takes what its own parts have."""
    asked = parse("--alpha", 0.5, "--patches", 7)
    variants = {"": {"wt": "whiten"}, "exact": {"velocity": "exact"}}
    flags.check(asked, variants)
    assert asked.config(wt="whiten").wt == Whiten(alpha=0.5)
    with fails("--alpha: is an option of whiten"):
        flags.check(asked, {"exact": {"velocity": "exact"}})


def test_a_variant_that_is_out_of_range_is_told_too():
    with fails("--width 4: give at least 8"):
        flags.check(parse(), {"narrow": {"width": 4}})


def test_what_may_differ_where_a_run_goes_on():
    here = parse("--out", "a", "--models", "b", "--cache", "c", "--resume", "--resident", 0.1)
    there = parse("--seeds", 4, "--mesh", 1, 1)
    assert here.comparable() == there.comparable()
    for words in (["--seed", 1], ["--validation", 0.1], ["--wt", "none"], ["--root", "x"]):
        assert parse(*words).comparable() != there.comparable()


def test_a_place_that_cannot_be_written(tmp_path):
    flags.writable(tmp_path / "a" / "b", tmp_path)
    assert (tmp_path / "a" / "b").is_dir()
    with pytest.raises(OSError, match="proc"):
        flags.writable(Path("/proc/nothing"))


PART = '''
"""A map that somebody wrote."""

from dataclasses import dataclass
from typing import ClassVar

from wtflow_jax.flow.maps import MAPS, WTMap


@MAPS.add("shifted")
@dataclass(frozen=True)
class Shifted(WTMap):
    """Moves all features."""

    moved_by: float = 1.5
    """How far features are moved."""

    streams = True
    RANGES: ClassVar = {"moved_by": (0, 9)}

    def apply(self, stats, features):
        """Return them moved."""
        return features + self.moved_by
'''


@pytest.fixture
def mvtec(tmp_path):
    """Runs mvtec.py with a part that is kept elsewhere."""
    (tmp_path / "part.py").write_text(PART)

    def told(*words):
        environment = os.environ | {"WTFLOW_PARTS": str(tmp_path / "part.py"), "COLUMNS": "120"}
        command = [sys.executable, str(EXPERIMENTS / "mvtec.py"), *map(str, words)]
        return subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )

    return told


def test_help_lists_the_options_of_every_part(mvtec):
    done = mvtec("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--moved-by" in done.stdout
    assert "How far features are moved." in done.stdout
    # The text is in a box, which may break a line anywhere.
    assert "shifted" in done.stdout.replace("\n", "")
    for name in flags.known():
        word = name.replace("_", "-")
        assert f"--{word}" in done.stdout or f"--no-{word}" in done.stdout
    assert "WT-Flow on MVTec AD" in done.stdout
    assert "default: None" not in done.stdout


@pytest.mark.slow
def test_an_option_of_ones_own_part_is_checked_like_any(mvtec):
    for words, said in (
        (["--wt", "shifted", "--moved-by", "10"], "--moved-by 10: give at least 0 and at most 9"),
        (["--moved-by", "1"], "--moved-by: is an option of shifted, which is not run"),
    ):
        done = mvtec(*words)
        assert done.returncode == 1
        assert done.stderr.startswith(f"error: {said}")


def test_a_flag_that_does_not_exist(capsys):
    with pytest.raises(SystemExit) as ended:
        parse("--widht", 8)
    assert ended.value.code == 2
    assert "--widht" in capsys.readouterr().err


def test_help_is_wrapped_anew(mvtec):
    lines = mvtec("--help").stdout.splitlines()
    boxes = [line for line in lines if line.startswith(("│", "╭", "╰"))]
    assert len({len(line) for line in boxes}) == 1
    text = [line.strip("│ ") for line in boxes]
    # The docstring breaks its line here.
    assert "files that begin with a backbone's name; left out" in " ".join(text)
