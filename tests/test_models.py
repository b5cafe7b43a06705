"""The store of trained models, and that training sees no test image."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
import trees
from PIL import Image
from test_structure import PACKAGE, imported

import mvtec
from wtflow_jax.detector.config import Config
from wtflow_jax.lab import common, models, training
from wtflow_jax.support import checksum

# Their code decides no number of a model: names of types and errors, flags (whose values count),
# files, and where scores become metrics.
HARMLESS = {"types", "errors", "config", "compilation"}


def test_the_code_that_decides_is_all_that_inference_imports():
    seen, todo = set(), ["inference"]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            # The one file of the package geometry that is imported.
            name = name.replace("geometry", "geometry/empirical")
            todo += imported(PACKAGE / f"{name}.py")
    assert "from wtflow_jax.geometry.empirical import" in (PACKAGE / "exact.py").read_text()
    files = {name.partition("/")[0] for name in models.CODE}
    assert seen - HARMLESS == files


def test_comments_and_docstrings_change_no_key(tmp_path, monkeypatch):
    def digest(edit):
        for name in models.CODE:
            text = (PACKAGE / f"{name}.py").read_text()
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / f"{name}.py").write_text(edit(text) if name == "loss" else text)
        monkeypatch.setattr(models.wtflow_jax, "__file__", str(tmp_path / "__init__.py"))
        models.digest_of.cache_clear()
        return models.code()

    plain = digest(lambda text: text)
    assert digest(lambda text: text.replace('"""Return the loss', '"""Give  the loss')) == plain
    assert digest(lambda text: "# A comment.\n" + text) == plain
    assert digest(lambda text: text.replace("jnp.square(error)", "jnp.abs(error)")) != plain
    models.digest_of.cache_clear()


def splits(train=0.0):
    none = np.zeros((0, 2, 2, 3), np.float32)
    return models.Splits(np.full((1, 2, 2, 3), train, np.float32), none, none)


def test_what_a_key_is_made_of():
    config = Config()
    key = models.key(config, splits())
    for same in (
        replace(config, root=Path("a"), out=Path("b"), smoke=True, seeds=3, top_fraction=0.1),
        replace(config, centres="half_pixel", categories=("x",), weights="w", preset="fine"),
    ):
        assert models.key(same, splits()) == key
    others = [
        models.key(replace(config, **{flag: value}), splits())
        for flag, value in (
            ("wt", "none"),
            ("seed", 1),
            ("time_law", "beta"),
            ("input_norm", True),
            ("steps_det", 19),
            ("epochs", 29),
        )
    ]
    others.append(models.key(config, splits(train=1.0)))
    assert len({key, *others}) == 8


@pytest.fixture
def flags(tmp_path):
    return ["--smoke", "--validation", "0.25", "--cache", str(tmp_path / "cache")]


def test_training_depends_on_no_test_file(tmp_path, flags):
    """Other test images, labels and masks: the same weights, losses and threshold."""
    found = {}
    for name in ("one", "two"):
        category = trees.mvtec_ad(tmp_path / name / "data", train=8)
        if name == "two":
            for path in sorted((category / "test").rglob("*.png")):
                pixels = np.asarray(Image.open(path))
                Image.fromarray(255 - pixels[::-1]).save(path)
            (category / "test" / "good" / "001.png").rename(category / "test" / "dent" / "001.png")
        out = tmp_path / name
        where = ["--out", str(out / "run"), "--models", str(out / "models")]
        arguments = [*flags, *where, "--root", str(out / "data")]
        assert common.main(mvtec.EXPERIMENT, arguments) == 0
        (row,) = json.loads((out / "run" / "results.json").read_text())["rows"]
        config = common.parse(mvtec.EXPERIMENT, arguments)
        kept = json.loads((out / "models" / row["model"] / "model.json").read_text())
        model = models.Model(out / "models" / row["model"], {}, kept["history"], kept["norms"])
        like = np.zeros((1, *_map_shape(model)), np.float32)
        found[name] = row, kept, model.restore(config, models.Splits(like, like, like))
    (row, kept, fitted), (other_row, other_kept, other_fitted) = found.values()
    assert row["model"] != other_row["model"]
    assert row["pixel_auroc"] != other_row["pixel_auroc"]
    assert [e["loss"] for e in kept["history"]] == [e["loss"] for e in other_kept["history"]]
    assert row["decision"]["threshold"] == other_row["decision"]["threshold"]
    leaves = map(jax.tree.leaves, (fitted.params, other_fitted.params))
    for a, b in zip(*leaves, strict=True):
        np.testing.assert_array_equal(a, b)


def _map_shape(model):
    # At 128² block 7 gives 4 × 4 cells of 80 channels.
    cells = model.cells(model.epochs()[-1])
    return (*cells.test.detection.shape[1:], 80)


def test_an_unfinished_model_is_gone_on_with_and_a_broken_one_is_told_of(tmp_path, flags, capsys):
    trees.mvtec_ad(tmp_path / "data")
    arguments = [*flags[:1], *flags[3:], "--root", str(tmp_path / "data")]
    arguments += ["--models", str(tmp_path / "models"), "--resume"]
    assert common.main(mvtec.EXPERIMENT, [*arguments, "--out", str(tmp_path / "a")]) == 0
    (model,) = (tmp_path / "models").iterdir()
    kept = json.loads((model / "model.json").read_text())
    # As if it had been stopped between its last checkpoint and the end.
    (model / "model.json").unlink()
    assert common.main(mvtec.EXPERIMENT, [*arguments, "--out", str(tmp_path / "b")]) == 0
    again = json.loads((model / "model.json").read_text())
    assert again["history"] == kept["history"]
    (model / "model.json").write_text("{")
    capsys.readouterr()
    assert common.main(mvtec.EXPERIMENT, [*arguments, "--out", str(tmp_path / "c")]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    told = "is no model, or damaged; delete its directory"
    assert error == f"error: {model / 'model.json'}: {told}"


def test_one_that_is_being_trained_is_waited_for(tmp_path, monkeypatch):
    """Two threads ask for the same model at once: it is trained once."""
    trained = []

    def train(config, name, splits, directory, progress):
        trained.append(name)
        time.sleep(0.2)
        kept = checksum.sealed({"environment": {}, "history": [], "norms": {}})
        (directory / "model.json").write_text(json.dumps(kept))

    monkeypatch.setattr(training, "_train", train)
    config = replace(Config(), models=tmp_path)
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(training.obtain, config, "a", splits(), None) for _ in range(2)]
        assert asked[0].result() == asked[1].result()
    assert trained == ["a"]


def test_flags_that_decide_nothing_exist():
    assert set(Config.__dataclass_fields__) >= models.ELSEWHERE
