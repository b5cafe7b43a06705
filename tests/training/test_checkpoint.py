"""Checkpoints: restored as saved, or damage is reported."""

import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from affine import STEPS, copied, equal, fresh, last, train

from wtflow_jax.training import schedule
from wtflow_jax.training.checkpoint import Checkpoints, Saved


def history(past):
    return [{"loss": loss} for loss in past.losses]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A directory of two checkpoints, after epochs 3 and 4, and what they hold."""
    directory, found = tmp_path_factory.mktemp("saved") / "checkpoint", []
    with Checkpoints(directory) as checkpoints:
        for state, past, whole in train(fresh()):
            if whole:
                past = past.over()
                checkpoints.save(state, history(past), past)
                # The next step takes the memory of this one.
                found.append(Saved(copied(state), history(past), past))
            if len(found) == 4:
                break
    return directory, found[-2:]


def restored(directory):
    with Checkpoints(directory) as checkpoints:
        return checkpoints.restore(fresh())


def test_resumed_equals_uninterrupted(saved):
    directory, (_, newest) = saved
    assert sorted(p.name for p in directory.iterdir() if p.name.isdigit()) == ["21", "28"]
    found = restored(directory)
    assert (found.history, found.past) == newest[1:]
    assert equal(found.state, newest.state)
    whole, past = last(train(fresh()))
    resumed, at_end = last(train(found.state, past=found.past))
    assert equal(resumed, whole)
    assert at_end.losses == past.losses


def test_within_an_epoch_too(tmp_path):
    run = train(fresh())
    for _ in range(STEPS + 2):
        state, past, _ = next(run)
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(state, history(past), past)
    found = restored(tmp_path / "c")
    assert found.past == past
    assert equal(last(train(found.state, past=found.past))[0], last(train(fresh()))[0])


def test_nothing_to_restore(tmp_path):
    assert restored(tmp_path / "checkpoint") is None


def files(directory):
    return sorted(path for path in directory.rglob("*") if path.is_file())


@pytest.mark.slow
def test_a_damaged_file_is_told_and_the_checkpoint_before_taken(saved, tmp_path, capfd):
    """Every file of the newest checkpoint, a bit flipped in its middle and one in its last byte."""
    directory, (before, newest) = saved
    noticed = 0
    for path in files(directory / "28"):
        copy, data = tmp_path / str(noticed), bytearray(path.read_bytes())
        for at in {len(data) // 3, len(data) - 1} & set(range(len(data))):
            data[at] ^= 0x10
        shutil.copytree(directory, copy, dirs_exist_ok=True)
        damaged = copy / path.relative_to(directory)
        damaged.write_bytes(data)
        found = restored(copy)
        told = capfd.readouterr().err
        if found.history == newest.history:
            # The file is not needed to restore.
            assert equal(found.state, newest.state), damaged
            damaged.write_bytes(path.read_bytes())
            continue
        noticed += 1
        assert found.history == before.history, damaged
        assert equal(found.state, before.state), damaged
        assert f"{copy / '28'}: is damaged (" in told
        assert "and deleted; the previous checkpoint, if any, is used" in told
        assert not (copy / "28").exists()
    assert noticed >= 5
    # Its replacement is saved under its name.
    with Checkpoints(copy) as checkpoints:
        checkpoints.save(*newest)
    assert equal(restored(copy).state, newest.state)


def test_truncated_ones_are_told_and_none_is_left(saved, tmp_path, capfd):
    directory, _ = saved
    copy = tmp_path / "copy"
    shutil.copytree(directory, copy)
    for path in files(copy):
        path.write_bytes(path.read_bytes()[:10])
    assert restored(copy) is None
    first, second = capfd.readouterr().err.splitlines()
    assert first.startswith(f"{copy / '28'}: is damaged (")
    assert second.startswith(f"{copy / '21'}: is damaged (")


def test_a_state_that_is_not_finite_is_not_saved(tmp_path):
    state, (later, *_) = fresh(), next(train(fresh()))
    bad = later._replace(params=later.params | {"a": jnp.array([0, np.inf, 1])})
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(state, [{"loss": 1.0}], schedule.Past((1.0,)))
        with pytest.raises(schedule.Diverged, match="a parameter is not finite after epoch 2"):
            checkpoints.save(bad, [{"loss": 1.0}] * 2, schedule.Past((1.0,) * 2))
    assert equal(restored(tmp_path / "c").state, state)


def test_what_a_killed_run_left_is_cleared(saved, tmp_path):
    directory, (_, newest) = saved
    copy = tmp_path / "copy"
    shutil.copytree(directory, copy)
    left = copy / "30.orbax-checkpoint-tmp"
    shutil.copytree(copy / "28", left)
    assert equal(restored(copy).state, newest.state)
    assert not left.exists()
