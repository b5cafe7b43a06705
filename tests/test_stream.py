"""Features on disk: the same training as from memory."""

import hashlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trees

import mvtec
from wtflow_jax.detector import detector
from wtflow_jax.detector.config import Config
from wtflow_jax.lab import common
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.training import stream

MAPS = np.random.default_rng(0).normal(1, 2, (11, 4, 4, 3)).astype(np.float32)


def shards(asked=None):
    for number, start in enumerate(range(0, 11, 4)):

        def maps(start=start):
            if asked is not None:
                asked.append(start)
            yield MAPS[start : start + 2]
            yield MAPS[start + 2 : start + 4]

        yield f"{number}.array_record", maps()


def test_what_was_written_is_read(tmp_path):
    found = stream.write(tmp_path, MAPS.shape[1:], shards())
    assert found.shape == MAPS.shape
    assert found.digest == hashlib.sha256(MAPS.tobytes()).hexdigest()
    np.testing.assert_array_equal(found.read(np.array([10, 0, 4])), MAPS[[10, 0, 4]])
    order = np.array([[3, 1], [10, 10], [0, 7]])
    for batch, row in zip(found.batches(order), order, strict=True):
        np.testing.assert_array_equal(batch, MAPS[row])


def test_what_was_interrupted_goes_on(tmp_path):
    def torn():
        for number, (name, maps) in enumerate(shards()):
            if number == 1:
                raise KeyboardInterrupt
            yield name, maps

    with pytest.raises(KeyboardInterrupt):
        stream.write(tmp_path, MAPS.shape[1:], torn())
    with pytest.raises(WTFlowError, match="is no index of shards"):
        stream.Shards(tmp_path)
    asked = []
    found = stream.write(tmp_path, MAPS.shape[1:], shards(asked))
    assert asked == [4, 8]
    np.testing.assert_array_equal(found.read(np.arange(11)), MAPS)
    # Finished: nothing is asked for.
    stream.write(tmp_path, MAPS.shape[1:], shards(asked))
    assert asked == [4, 8]


def test_a_damaged_shard_is_told_and_a_missing_one_written_again(tmp_path):
    stream.write(tmp_path, MAPS.shape[1:], shards())
    shard = tmp_path / "1.array_record"
    whole = shard.read_bytes()
    cut, flipped = whole[:-100], bytes([*whole[:40], *(b ^ 255 for b in whole[40:90]), *whole[90:]])
    for damaged in (cut, flipped):
        shard.write_bytes(damaged)
        with pytest.raises(WTFlowError, match="a shard is damaged; delete the directory"):
            stream.Shards(tmp_path).read(np.arange(11))
        with pytest.raises(WTFlowError, match="a shard is damaged; delete the directory"):
            list(stream.Shards(tmp_path).batches(np.arange(11)[:, None]))
    shard.unlink()
    with pytest.raises(WTFlowError, match=r"1\.array_record: is missing; delete .*shards\.json"):
        stream.Shards(tmp_path)
    (tmp_path / stream.INDEX).unlink()
    asked = []
    np.testing.assert_array_equal(
        stream.write(tmp_path, MAPS.shape[1:], shards(asked)).read(np.arange(11)), MAPS
    )
    assert asked == [4]


@pytest.mark.parametrize("wt", ["none", "layer_norm", "batch_norm"])
def test_training_is_that_of_features_in_memory(tmp_path, wt):
    config = Config(width=8, epochs=2, batch_size=4, wt=wt)
    stored = stream.write(tmp_path, MAPS.shape[1:], shards())
    runs = []
    for features in (jnp.asarray(MAPS), stored):
        fitted, state = detector.init(config, features)
        (*_, (_, epoch)) = detector.epochs(config, fitted, state, features)
        runs.append((epoch.loss, fitted.stats, epoch.state.params))
    # Bit for bit, but for statistics that are summed in another order.
    tolerance = 1e-4 if wt == "batch_norm" else 0
    for a, b in zip(*map(jax.tree.leaves, runs), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_what_needs_all_features_says_so(tmp_path):
    stored = stream.write(tmp_path, MAPS.shape[1:], shards())
    with pytest.raises(WTFlowError, match="--wt whiten: needs all training features"):
        detector.init(Config(wt="whiten"), stored)
    with pytest.raises(WTFlowError, match="--velocity exact: needs all training features"):
        detector.init(Config(velocity="exact"), stored)


def test_an_experiment_streams_what_does_not_fit(tmp_path, capsys):
    trees.mvtec_ad(tmp_path / "data", train=8)
    rows = {}
    for resident in ("1", "0"):
        where = "--root", tmp_path / "data", "--cache", tmp_path / f"cache{resident}"
        where += "--out", tmp_path / resident, "--models", tmp_path / "models" / resident
        flags = "--smoke", "--velocity", "patch", "--resident", resident
        assert common.main(mvtec.EXPERIMENT, [*map(str, where), *flags]) == 0
        (row,) = json.loads((tmp_path / resident / "results.json").read_text())["rows"]
        rows[resident] = {k: v for k, v in row.items() if k.startswith(("image", "pixel", "x0"))}
        told = capsys.readouterr().err
        assert ("streamed from disk" in told) == (resident == "0")
    assert rows["0"] == rows["1"]
    # And so is the model's name: where one is there, it serves both.
    names = [[path.name for path in (tmp_path / "models" / run).iterdir()] for run in rows]
    assert names[0] == names[1]
    assert len(list((tmp_path / "cache0" / "features").glob("*/*.array_record"))) == 1


@pytest.mark.parametrize("flags", [("--wt", "whiten"), ("--velocity", "exact")], ids=" ".join)
def test_what_cannot_be_streamed_is_told_before_features_are_taken(flags, tmp_path, capsys):
    trees.mvtec_ad(tmp_path / "data", train=8)
    where = "--root", tmp_path / "data", "--cache", tmp_path / "cache", "--out", tmp_path / "out"
    flags = *flags, "--smoke", "--resident", "0", "--models", tmp_path / "models"
    assert common.main(mvtec.EXPERIMENT, [*map(str, (*where, *flags))]) == 1
    told = capsys.readouterr().err
    assert f"error: {flags[0]} {flags[1]}: needs all training features in memory" in told
    assert not list((tmp_path / "cache").rglob("*.array_record"))


def test_an_experiment_that_needs_all_of_them_says_so(tmp_path, capsys):
    import pooling

    trees.mvtec_ad(tmp_path / "data", train=8)
    where = "--root", tmp_path / "data", "--cache", tmp_path / "cache", "--out", tmp_path / "out"
    flags = "--smoke", "--resident", "0", "--models", tmp_path / "models"
    assert common.main(pooling.EXPERIMENT, [*map(str, (*where, *flags))]) == 1
    assert "8 training images: this experiment needs their features in memory" in (
        capsys.readouterr().err
    )
