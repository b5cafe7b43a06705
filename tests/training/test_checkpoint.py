"""Checkpoints: what is restored is what was saved, or it is told."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_train import SETTINGS, X0, equal, fresh, last, objective

from wtflow_jax.detector import detector
from wtflow_jax.detector.config import Config
from wtflow_jax.lab import training
from wtflow_jax.training import checkpoint, schedule, train
from wtflow_jax.training.checkpoint import Checkpoints


def history(epoch):
    return [{"loss": loss} for loss in epoch.past.over().losses]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A directory of two checkpoints, and the epochs they are of."""
    directory = tmp_path_factory.mktemp("saved") / "checkpoint"
    epochs = []
    with Checkpoints(directory) as checkpoints:
        for epoch in train.train(objective(), fresh(), X0, **SETTINGS):
            past = epoch.past.over()
            checkpoints.save(epoch.state, history(epoch), past)
            # The next epoch takes the memory of this one.
            state = train.TrainState(*(_copy(part) for part in epoch.state))
            epochs.append(epoch._replace(state=state))
            if epoch.number == 4:
                break
    return directory, epochs[-2:]


def _copy(tree):
    return jax.tree.map(jnp.array, tree)


def restored(directory):
    with Checkpoints(directory) as checkpoints:
        return checkpoints.restore(fresh())


def test_resumed_equals_uninterrupted(saved):
    directory, (_, epoch) = saved
    assert sorted(p.name for p in directory.iterdir() if p.name.isdigit()) == ["21", "28"]
    found = restored(directory)
    assert found.history == history(epoch)
    assert equal(found.state, epoch.state)
    whole = last(train.train(objective(), fresh(), X0, **SETTINGS))
    resumed = last(train.train(objective(), found.state, X0, past=found.past, **SETTINGS))
    assert equal(resumed.state, whole.state)
    assert resumed.past.losses == whole.past.losses


def test_nothing_to_restore(tmp_path):
    assert restored(tmp_path / "checkpoint") is None


def files(directory):
    return sorted(path for path in directory.rglob("*") if path.is_file())


def test_a_flipped_byte_is_told_and_the_checkpoint_before_taken(saved, tmp_path, capfd):
    """Every file of the newest checkpoint, at a few places."""
    directory, (before, newest) = saved
    names = [path.relative_to(directory) for path in files(directory / "28")]
    noticed = 0
    for name in names:
        size = (directory / name).stat().st_size
        for at in {size // 3, size - 1} & set(range(size)):
            copy = tmp_path / "copy"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(directory, copy)
            data = bytearray((copy / name).read_bytes())
            data[at] ^= 0x10
            (copy / name).write_bytes(data)
            capfd.readouterr()
            found = restored(copy)
            told = capfd.readouterr().err
            if found.history == history(newest):
                assert equal(found.state, newest.state), name
                continue
            noticed += 1
            assert found.history == history(before), name
            assert equal(found.state, before.state), name
            assert f"{copy / '28'}: is damaged (" in told
            assert "moved to 28.damaged; going on from the checkpoint before" in told
            assert (copy / "28.damaged").is_dir()
            # What takes its place is saved under its name.
            with Checkpoints(copy) as checkpoints:
                checkpoints.save(newest.state, history(newest), newest.past.over())
            assert equal(restored(copy).state, newest.state)
    # Not on every byte anything depends.
    assert noticed > 5


def test_truncated_ones_are_told_and_none_is_left(saved, tmp_path, capfd):
    directory, _ = saved
    copy = tmp_path / "copy"
    shutil.copytree(directory, copy)
    for path in files(copy):
        path.write_bytes(path.read_bytes()[:10])
    assert restored(copy) is None
    first, second = capfd.readouterr().err.splitlines()
    assert first.endswith("moved to 28.damaged; going on from the checkpoint before")
    assert second.endswith("moved to 21.damaged; training begins again")


def test_a_state_that_is_not_finite_is_not_saved(tmp_path):
    state = fresh()
    later = next(train.train(objective(), fresh(), X0, **SETTINGS)).state
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


def test_while_the_loss_is_high_the_checkpoint_from_before_is_kept(tmp_path, monkeypatch):
    """An experiment's epochs, of which all but the first two lose more than the first step did."""
    monkeypatch.setattr(training, "_score", lambda *_: 0.0)
    config, fitted = Config(epochs=30, eval_from=0.0), detector.Detector(None, None, None, None)

    def run():
        past, state = schedule.Past(first=2.0), fresh()
        for number, loss in enumerate([1.5, 1.0, 9.0, 9.0, 9.0], 1):
            count = jnp.int32(10 * number)
            moments = (state.moments[0]._replace(count=count), *state.moments[1:])
            epoch = past._replace(steps=10, total=10 * loss)
            yield fitted, train.Epoch(number, state._replace(moments=moments), epoch)
            past = epoch.over()
        raise schedule.Diverged("at last")

    history = []
    with Checkpoints(tmp_path / "c") as checkpoints:
        with pytest.raises(schedule.Diverged, match="at last"):
            training._follow(config, run(), fitted, None, tmp_path, history, checkpoints)
        assert sorted(checkpoints.manager.all_steps()) == [11, 22]
    assert [entry["loss"] for entry in history] == [1.5, 1.0, 9.0, 9.0, 9.0]
    assert [entry["loss"] for entry in restored(tmp_path / "c").history] == [1.5, 1.0]


def test_a_checkpoint_of_another_name_is_damaged(saved, tmp_path, capfd):
    """Later ones, of lower numbers, would not be saved."""
    directory, (before, _) = saved
    copy = tmp_path / "copy"
    shutil.copytree(directory, copy)
    (copy / "28").rename(copy / "50")
    assert equal(restored(copy).state, before.state)
    assert f"{copy / '50'}: is damaged" in capfd.readouterr().err


def test_flips_do_not_cancel(saved):
    _, (_, epoch) = saved
    flipped = jnp.array(epoch.state.params["a"]).at[:2].multiply(-1)
    other = epoch.state._replace(params=epoch.state.params | {"a": flipped})
    assert checkpoint._sums(other)[0].tolist() != checkpoint._sums(epoch.state)[0].tolist()
