"""Features on disk: the same training as from memory."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trees
from running import run

from wtflow_jax.detector import detector
from wtflow_jax.detector.config import configure
from wtflow_jax.support import shards
from wtflow_jax.support.errors import WTFlowError

MAPS = np.random.default_rng(0).normal(1, 2, (11, 4, 4, 3)).astype(np.float32)


@pytest.mark.parametrize("wt", ["none", "layer_norm", "batch_norm"])
def test_training_is_that_of_features_in_memory(tmp_path, wt):
    config = configure(velocity="patch", width=8, epochs=2, batch_size=4, wt=wt)
    stored = shards.write(tmp_path, MAPS.shape[1:], [[MAPS[:4]], [MAPS[4:]]])
    runs = []
    for features in (jnp.asarray(MAPS), stored):
        fitted, state = detector.init(config, features)
        (*_, (last, past, _)) = detector.training(fitted, state, features)
        runs.append((past.loss, fitted.stats, last.params))
    # Bit for bit, but for statistics that are summed in another order.
    tolerance = 1e-4 if wt == "batch_norm" else 0
    for a, b in zip(*map(jax.tree.leaves, runs), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_what_needs_all_features_says_so(tmp_path):
    stored = shards.write(tmp_path, MAPS.shape[1:], [[MAPS[:4]], [MAPS[4:]]])
    with pytest.raises(WTFlowError, match="--wt whiten: needs all training features"):
        detector.init(configure(wt="whiten"), stored)
    with pytest.raises(WTFlowError, match="--velocity exact: needs all training features"):
        detector.init(configure(velocity="exact"), stored)


@pytest.mark.slow
def test_an_experiment_streams_what_does_not_fit(tmp_path, capsys):
    trees.mvtec_ad(tmp_path / "data", train=8)
    rows = {}
    for resident in ("1", "0"):
        where = "--root", tmp_path / "data", "--cache", tmp_path / f"cache{resident}"
        where += "--out", tmp_path / resident, "--models", tmp_path / "models" / resident
        flags = "--smoke", "--velocity", "patch", "--resident", resident
        assert run("mvtec", *where, *flags) == 0
        (row,) = json.loads((tmp_path / resident / "results.json").read_text())["rows"]
        rows[resident] = {k: v for k, v in row.items() if k.startswith(("image", "pixel", "x0"))}
        told = capsys.readouterr().err
        assert ("streamed from disk" in told) == (resident == "0")
    assert rows["0"] == rows["1"]
    # The model's name is equal too, so a stored model serves both.
    names = [[path.name for path in (tmp_path / "models" / run).iterdir()] for run in rows]
    assert names[0] == names[1]
    assert len(list((tmp_path / "cache0" / "shards").glob("*/*.array_record"))) == 1


@pytest.mark.parametrize("flags", [("--wt", "whiten"), ("--velocity", "exact")], ids=" ".join)
def test_what_cannot_be_streamed_is_told_before_features_are_taken(flags, tmp_path, capsys):
    trees.mvtec_ad(tmp_path / "data", train=8)
    where = "--root", tmp_path / "data", "--cache", tmp_path / "cache", "--out", tmp_path / "out"
    flags = *flags, "--smoke", "--resident", "0", "--models", tmp_path / "models"
    assert run("mvtec", *where, *flags) == 1
    told = capsys.readouterr().err
    assert f"error: {flags[0]} {flags[1]}: needs all training features in memory" in told
    assert not list((tmp_path / "cache").rglob("*.array_record"))


def test_an_experiment_that_needs_all_of_them_says_so(tmp_path, capsys):
    trees.mvtec_ad(tmp_path / "data", train=8)
    where = "--root", tmp_path / "data", "--cache", tmp_path / "cache", "--out", tmp_path / "out"
    flags = "--smoke", "--resident", "0", "--models", tmp_path / "models"
    assert run("pooling", *where, *flags) == 1
    assert "8 training images: this experiment needs their features in memory" in (
        capsys.readouterr().err
    )
