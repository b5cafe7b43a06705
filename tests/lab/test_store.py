"""The store of trained models: trained once per key, and resumed."""

import ast
import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
import pytest
import trees
from PIL import Image
from raising import fails
from running import places, rows, run

import wtflow_jax
from wtflow_jax.detector.config import configure
from wtflow_jax.lab import store
from wtflow_jax.lab.store import Splits
from wtflow_jax.support import console, shards, signals, tensors
from wtflow_jax.training import sharding

PACKAGE = Path(wtflow_jax.__file__).parent
CONFIG = configure(velocity="patch", width=8, epochs=3, batch_size=4, wt="batch_norm", start=0.3)
STEPS = 3
"""Of an epoch of ten images."""


def draw(seed, count):
    return np.random.default_rng(seed).normal(1, 2, (count, 3, 2, 8)).astype(np.float32)


SPLITS = Splits(draw(0, 10), draw(1, 5), draw(2, 2))


def obtain(models, config=CONFIG, splits=SPLITS, track=console.untracked):
    return store.obtain(config, "part", splits, models, sharding.LOCAL, track)


def numbers(found):
    """All numbers of a model, without its seconds."""
    leaves = jax.tree.leaves((found.detector.params, found.detector.stats, found.cells))
    arrays = [np.asarray(leaf) for leaf in [*leaves, *found.radii]]
    history = [{k: v for k, v in e.items() if "seconds" not in k} for e in found.history]
    return [(a.shape, a.dtype.str, a.tobytes()) for a in arrays], history, found.norms


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return obtain(tmp_path_factory.mktemp("whole"))


def test_a_finished_model(whole):
    assert [path.name for path in whole.directory.iterdir()] == [store.FILE]
    assert list(whole.cells) == [entry["epoch"] for entry in whole.history] == [1, 2, 3]
    for cells in whole.cells.values():
        assert cells["test"].detection.shape == (5, 3, 2)
        assert cells["validation"].localization.shape == (2, 3, 2)
    losses = [entry["loss"] for entry in whole.history]
    assert losses[-1] < losses[0]
    # Lemma 6: the mean of ‖x0‖² over the training set is D.
    assert np.mean(np.square(whole.norms["train"])) == pytest.approx(48, rel=1e-3)
    assert [len(norms) for norms in whole.norms.values()] == [10, 5, 2]
    assert whole.radii.values.shape == (5, store.RADII_STEPS + 1)
    assert set(whole.environment) == {"versions", "device", "git_commit"}


def test_it_is_trained_once(tmp_path, monkeypatch):
    first = obtain(tmp_path)
    before = (first.directory / store.FILE).stat().st_mtime_ns
    monkeypatch.setattr(store, "_train", lambda *given: pytest.fail("is trained again"))
    again = obtain(tmp_path)
    assert numbers(again) == numbers(first)
    assert again.history == first.history
    assert (first.directory / store.FILE).stat().st_mtime_ns == before
    # Settings of scoring and display do not change the key.
    obtain(tmp_path, CONFIG.but(top_fraction=0.5, centres="half_pixel", false_alarms=0.2))


class Asked(Exception):
    """A process that is killed."""


@pytest.mark.long
@pytest.mark.parametrize("step", [1, 3, 4, 6, 8, 9])
def test_stopped_at_any_step_it_goes_on_bit_for_bit(whole, step, tmp_path):
    """Stopped by a signal: progress is saved, also within an epoch."""
    taken = []

    def track(what, total):
        def advance(done=1, note=None):
            taken.append(done)
            if sum(taken) == step and note is not None:
                signal.raise_signal(signal.SIGTERM)

        return advance

    with signals.heard(), pytest.raises(signals.Stopped):
        obtain(tmp_path, track=track)
    (directory,) = tmp_path.iterdir()
    assert (directory / "checkpoint").is_dir()
    assert not (directory / store.FILE).exists()
    taken.clear()
    begun = []
    again = obtain(tmp_path, track=lambda what, total: lambda done=1, note=None: begun.append(done))
    assert begun[0] == step
    assert numbers(again) == numbers(whole)
    assert [path.name for path in directory.iterdir()] == [store.FILE]


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_killed_while_it_is_evaluated_it_goes_on_bit_for_bit(whole, epoch, tmp_path, monkeypatch):
    evaluate = store._evaluate

    def killed(fitted, splits, directory, now, kept):
        if now == epoch:
            raise Asked
        return evaluate(fitted, splits, directory, now, kept)

    monkeypatch.setattr(store, "_evaluate", killed)
    with pytest.raises(Asked):
        obtain(tmp_path)
    monkeypatch.setattr(store, "_evaluate", evaluate)
    assert numbers(obtain(tmp_path)) == numbers(whole)


def test_killed_between_the_last_checkpoint_and_the_end(whole, tmp_path, monkeypatch):
    finish = store._finish
    monkeypatch.setattr(store, "_finish", lambda *given: (_ for _ in ()).throw(Asked))
    with pytest.raises(Asked):
        obtain(tmp_path)
    monkeypatch.setattr(store, "_finish", finish)
    monkeypatch.setattr(store, "_evaluate", lambda *given: pytest.fail("is evaluated again"))
    assert numbers(obtain(tmp_path)) == numbers(whole)


@pytest.mark.long
def test_features_on_disk_make_the_same_model(whole, tmp_path):
    parts = iter([iter([SPLITS.train[:7]]), iter([SPLITS.train[7:]])])
    stored = shards.write(tmp_path / "shards", SPLITS.train.shape[1:], parts)
    streamed = SPLITS._replace(train=stored)
    assert store.key(CONFIG, streamed) == store.key(CONFIG, SPLITS)
    layer_norm = CONFIG.but(wt="layer_norm")
    found = obtain(tmp_path / "streamed", layer_norm, streamed)
    assert numbers(found) == numbers(obtain(tmp_path / "memory", layer_norm))


def test_what_is_damaged_is_one_line(whole, tmp_path):
    content = (whole.directory / store.FILE).read_bytes()
    path = tmp_path / whole.directory.name / store.FILE
    path.parent.mkdir()
    arrays, about = tensors.load(whole.directory / store.FILE)
    short = {name: array for name, array in arrays.items() if not name.startswith("radii")}
    said = "is damaged .*; delete "
    for other in (b"", content[: len(content) // 2], content[:-1] + b"\x00\x00", b"{"):
        path.write_bytes(other)
        with fails(f"{path}: {said}{path.parent}"):
            obtain(tmp_path)
    flipped = bytearray(content)
    flipped[-9] ^= 1
    path.write_bytes(flipped)
    with fails(f"{path}: {said}"):
        obtain(tmp_path)
    for less, more in ((short, about), (arrays, {k: about[k] for k in ("config", "norms")})):
        tensors.save(path, less, more)
        with fails(f"{path}: {said}"):
            obtain(tmp_path)


@pytest.mark.long
def test_a_field_in_closed_form_has_one_figure(tmp_path):
    config = configure(velocity="exact", wt="whiten", rank=3)
    found = obtain(tmp_path, config)
    assert list(found.cells) == [0]
    assert [entry["loss"] for entry in found.history] == [None]
    assert numbers(found) == numbers(obtain(tmp_path / "again", config))


def test_training_that_diverges_keeps_what_was_saved(tmp_path):
    config = CONFIG.but(learning_rate=1e20, epochs=9)
    with fails(
        "part: the loss is|part: scores are not finite|part: a parameter", "--learning-rate"
    ):
        obtain(tmp_path, config)
    (directory,) = tmp_path.iterdir()
    assert not (directory / store.FILE).exists()


def test_one_that_is_being_trained_is_waited_for(tmp_path, monkeypatch):
    """Two threads ask for the same model at once: it is trained once."""
    trained, train = [], store._train

    def slow(*given):
        trained.append(given)
        time.sleep(0.2)
        train(*given)

    monkeypatch.setattr(store, "_train", slow)
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(obtain, tmp_path) for _ in range(2)]
        first, second = (one.result() for one in asked)
    assert numbers(first) == numbers(second)
    assert len(trained) == 1


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param({"epochs": 12}, [*range(3, 13)], marks=pytest.mark.long),
        ({"epochs": 3}, [1, 2, 3]),
        ({"epochs": 24, "eval_every": 2}, list(range(6, 25, 2))),
        pytest.param(
            {"epochs": 12, "eval_from": 0.0},
            [*range(1, 13)],
            marks=pytest.mark.long,
        ),
        ({"epochs": 7, "eval_every": 3}, [1, 4, 7]),
    ],
)
def test_which_epochs_are_evaluated(asked, expected, tmp_path):
    found = obtain(tmp_path, CONFIG.but(decay_at=(), **asked))
    assert list(found.cells) == expected
    assert [e["epoch"] for e in found.history if "seconds_evaluate" in e] == expected
    assert len(found.history) == asked["epochs"]


def test_what_a_key_is_made_of(tmp_path, monkeypatch):
    config = configure()
    key = store.key(config, SPLITS)
    same = (
        config.but(top_fraction=0.1, centres="half_pixel", false_alarms=0.2),
        configure(preset="small", epochs=30),
        configure(**json.loads(json.dumps(config.flags()))),
        # Decides the features, which are compared themselves.
        config.but(backbone="resnet18", layer=("layer2",), image_size="64", dense=True),
        # An option of a part that is not chosen.
        config.but(alpha=0.5),
    )
    assert {store.key(other, SPLITS) for other in same} == {key}
    changed = {"wt": "none", "seed": 1, "time_law": "beta", "input_norm": True, "steps_det": 19}
    changed |= {"epochs": 29, "width": 40, "score": "log_density", "power": 0.5, "start": 0.1}
    others = [store.key(config.but(**{name: value}), SPLITS) for name, value in changed.items()]
    for split, maps in SPLITS._asdict().items():
        others.append(store.key(config, SPLITS._replace(**{split: maps + 1})))
    others.append(store.key(config, SPLITS._replace(test=SPLITS.test.reshape(5, 2, 3, 8))))
    (tmp_path / "part.py").write_text("VALUE = 1\n")
    monkeypatch.setenv("WTFLOW_PARTS", str(tmp_path / "part.py"))
    others.append(store.key(config, SPLITS))
    (tmp_path / "part.py").write_text("VALUE = 2\n")
    store.digest_of.cache_clear()
    others.append(store.key(config, SPLITS))
    assert len({key, *others}) == 1 + len(others)


def test_edited_code_is_another_model_and_comments_are_not(tmp_path, monkeypatch):
    def digest(edit):
        for path in PACKAGE.rglob("*.py"):
            copy = tmp_path / path.relative_to(PACKAGE)
            copy.parent.mkdir(exist_ok=True, parents=True)
            text = path.read_text()
            copy.write_text(edit(text) if path.name == "loss.py" else text)
        monkeypatch.setattr(store.wtflow_jax, "__file__", str(tmp_path / "__init__.py"))
        store.digest_of.cache_clear()
        return store.digest_of(*store.DECIDES)

    plain = digest(lambda text: text)
    assert digest(lambda text: text.replace('"""Return the mean rFM', '"""Give it')) == plain
    assert digest(lambda text: "# A comment.\n" + text) == plain
    assert digest(lambda text: text.replace("jnp.square(error)", "jnp.abs(error)")) != plain
    store.digest_of.cache_clear()


HARMLESS = {"support", "data", "backbones", "metrics"}
"""Files, messages and signals decide no number; features are compared themselves."""


def test_the_code_that_decides_is_all_that_inference_imports():
    seen, todo = set(), set((PACKAGE / "velocities").glob("*.py"))
    todo |= {PACKAGE / "detector" / f"{name}.py" for name in ("route", "detector")}
    while todo:
        path = todo.pop()
        seen.add(path)
        # What the package itself imports is for type checkers.
        todo |= imported(path) - seen if path != PACKAGE / "__init__.py" else set()
    decides = [PACKAGE / part for part in store.DECIDES]
    left = {
        str(path.relative_to(PACKAGE))
        for path in seen
        if not any(path == part or part in path.parents for part in decides)
    }
    assert {path for path in left if path.partition("/")[0] not in HARMLESS} <= {
        "__init__.py",
        # Names of its instruments, of which one decides.
        "geometry/__init__.py",
    }
    exact = PACKAGE / "velocities" / "exact.py"
    assert PACKAGE / "geometry" / "empirical.py" in imported(exact)
    for part in (*store.DECIDES, *store.MEASURES):
        assert (PACKAGE / part).exists()


def imported(path):
    """Files of the package that a file imports, but for the package of a file alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("wtflow_jax"):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names.append(node.module)
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("wtflow_jax")]
        else:
            continue
        for name in names:
            module = PACKAGE.parent / name.replace(".", "/")
            found |= {p for p in (module.with_suffix(".py"), module / "__init__.py") if p.exists()}
    return found - {PACKAGE / "geometry" / "__init__.py"}


@pytest.mark.long
def test_training_depends_on_no_test_file(tmp_path):
    """Other test images, labels and masks: the same weights, losses and threshold."""
    found = {}
    for name in ("one", "two"):
        category = trees.mvtec_ad(tmp_path / name / "data", train=8)
        if name == "two":
            for path in sorted((category / "test").rglob("*.png")):
                pixels = np.asarray(Image.open(path))
                Image.fromarray(255 - pixels[::-1]).save(path)
            (category / "test" / "good" / "001.png").rename(category / "test" / "dent" / "001.png")
        out = tmp_path / name / "run"
        flags = "--smoke", "--velocity", "patch", "--validation", 0.25, "--image-size", 64
        where = *places(out), "--cache", tmp_path / "cache", "--root", tmp_path / name / "data"
        assert run("mvtec", *flags, *where) == 0
        (row,) = rows(out)
        arrays, about = tensors.load(tmp_path / name / "models" / row["model"] / store.FILE)
        weights = {k: v.tobytes() for k, v in arrays.items() if k.startswith(("params", "stats"))}
        losses = [entry["loss"] for entry in about["history"]]
        found[name] = row, losses, weights, row["decision"]["threshold"]
    (row, *rest), (other, *other_rest) = found.values()
    assert row["model"] != other["model"]
    assert row["pixel_auroc"] != other["pixel_auroc"]
    assert rest == other_rest
