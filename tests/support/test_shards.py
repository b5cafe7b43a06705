"""Shards: read as written, resumed after an interruption, damage is reported."""

import hashlib

import numpy as np
import pytest
from raising import fails

from wtflow_jax.support import shards
from wtflow_jax.support.errors import WTFlowError

MAPS = np.random.default_rng(0).normal(1, 2, (11, 4, 4, 3)).astype(np.float32)


def parts(asked=None):
    def maps(start):
        if asked is not None:
            asked.append(start)
        yield MAPS[start : start + 2]
        yield MAPS[start + 2 : start + 4]

    return [maps(start) for start in range(0, 11, 4)]


def test_what_was_written_is_read(tmp_path):
    found = shards.write(tmp_path, MAPS.shape[1:], parts())
    assert found.shape == MAPS.shape
    assert found.digest == hashlib.sha256(MAPS.tobytes()).hexdigest()
    np.testing.assert_array_equal(found.read(np.array([10, 0, 4])), MAPS[[10, 0, 4]])
    order = np.array([[3, 1], [10, 10], [0, 7]])
    for batch, row in zip(found.batches(order), order, strict=True):
        np.testing.assert_array_equal(batch, MAPS[row])


def test_what_was_interrupted_goes_on(tmp_path):
    def torn():
        first, *_ = parts()
        yield first
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shards.write(tmp_path, MAPS.shape[1:], torn())
    with fails("not an index of shards"):
        shards.Shards(tmp_path)
    (tmp_path / f"00001.array_record.{'0' * 32}.part").touch()
    asked, done = [], []
    found = shards.write(tmp_path, MAPS.shape[1:], parts(asked), done.append)
    assert asked == [4, 8]
    assert sum(done) == 11
    np.testing.assert_array_equal(found.read(np.arange(11)), MAPS)
    assert not list(tmp_path.glob("*.part"))
    # Finished: nothing is asked for.
    shards.write(tmp_path, MAPS.shape[1:], parts(asked), done.append)
    assert asked == [4, 8]
    assert sum(done) == 22


def test_a_damaged_shard_is_told_and_a_missing_one_written_again(tmp_path):
    shards.write(tmp_path, MAPS.shape[1:], parts())
    shard = tmp_path / "00001.array_record"
    whole = shard.read_bytes()
    cut, flipped = whole[:-100], bytes([*whole[:40], *(b ^ 255 for b in whole[40:90]), *whole[90:]])
    for damaged in (cut, flipped):
        shard.write_bytes(damaged)
        with pytest.raises(WTFlowError, match="a shard is damaged; delete the directory"):
            shards.Shards(tmp_path).read(np.arange(11))
        with pytest.raises(WTFlowError, match="a shard is damaged; delete the directory"):
            list(shards.Shards(tmp_path).batches(np.arange(11)[:, None]))
    shard.unlink()
    with fails(str(tmp_path), "has 7 of 11 maps", f"delete {shards.INDEX}"):
        shards.Shards(tmp_path)
    (tmp_path / shards.INDEX).unlink()
    asked = []
    np.testing.assert_array_equal(
        shards.write(tmp_path, MAPS.shape[1:], parts(asked)).read(np.arange(11)), MAPS
    )
    assert asked == [4]


@pytest.mark.parametrize("text", ["", "[]", "{}", "{"])
def test_an_index_that_is_none(tmp_path, text):
    (tmp_path / shards.INDEX).write_text(text)
    with fails(shards.INDEX, "not an index of shards; delete it"):
        shards.Shards(tmp_path)
