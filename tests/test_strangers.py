"""Files from strangers, tables, JSON and tensors: a result or one line."""

import json
import os
import shutil

import numpy as np
import pytest
import rubbish
import trees
from raising import fails
from running import one_line, wtflow
from safetensors.numpy import save_file

from wtflow_jax import data as datasets
from wtflow_jax.backbones import features, weights
from wtflow_jax.data.loco import read_saturations
from wtflow_jax.detector import model
from wtflow_jax.support import checksum, untrusted
from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.training import stream


def quiet(call, *arguments):
    """Return whether a call came to a result; the only other way is a line."""
    try:
        call(*arguments)
    except WTFlowError:
        return False
    return True


def test_json_is_never_believed(tmp_path):
    for text in rubbish.texts():
        for name, call in (
            ("defects_config.json", read_saturations),
            ("shards.json", lambda path: stream.Shards(path.parent)),
        ):
            (tmp_path / name).write_bytes(text)
            quiet(call, tmp_path / name)
    index = {"shape": [1, 2, 2, 3], "digest": "", "shards": ["../../etc/passwd"]}
    for wrong in ({}, {"shards": [], "shape": [float("inf"), 1, 1, 1]}):
        (tmp_path / "shards.json").write_text(json.dumps(index | wrong))
        with fails("shards.json: is no index of shards"):
            stream.Shards(tmp_path)
    with pytest.raises(ValueError, match="nested too deeply"):
        untrusted.parse(b"[" * 100_000)
    for name in ("/etc/passwd", "../x", "a/../../x", 3, None):
        with pytest.raises(ValueError, match=r"leads out of|is no path"):
            untrusted.inside(tmp_path, name)


def test_altered_models(small_model, tmp_path, capsys, monkeypatch):
    """By somebody who knows how checksums are made."""
    shutil.copytree(small_model, tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    whole = json.loads(path.read_text())
    monkeypatch.setattr(checksum, "is_whole", lambda description: True)
    monkeypatch.setattr(model, "file_digest", lambda path: whole["tensors"])
    # Some of them: benchmarks/fuzz.py tries all.
    texts = [json.dumps(other).encode() for other in rubbish.altered(whole)][::12]
    for text in texts + rubbish.texts():
        path.write_bytes(text)
        if wtflow("info", tmp_path / "model"):
            one_line(capsys.readouterr().err)
    path.write_text(json.dumps(whole))
    tensors = tmp_path / "model" / "model.safetensors"
    for content in rubbish.tensors().values():
        tensors.write_bytes(content)
        assert wtflow("info", tmp_path / "model") == 1
        one_line(capsys.readouterr().err)
    for names in (["a" + "/a" * 9000], ["", "a"], ["a", "a/b"], ["stats/0", "stats/2"]):
        save_file(dict.fromkeys(names, np.zeros(2, np.float32)), tensors)
        assert wtflow("info", tmp_path / "model") == 1
        one_line(capsys.readouterr().err)


def test_hostile_tensors(tmp_path):
    key = features._Key("a", (1,), "b", False, (1, 1), "c", "d")
    for name, content in rubbish.tensors().items():
        path = tmp_path / "weights.safetensors"
        path.write_bytes(content)
        came = quiet(weights.load_state, path)
        assert came <= (name in {"infinite", "bfloat16", "float8"}), name
        assert features._load(path, key) is None, name


def test_hostile_tables(tmp_path):
    path = trees.visa(tmp_path)
    for content in rubbish.TABLES:
        path.write_bytes(content)
        with fails(str(tmp_path)):
            datasets.open_category(tmp_path, "candle", "visa")
    for name in ("/etc/passwd", "../../etc/passwd"):
        path.write_text(f"object,split,label,image,mask\ncandle,train,normal,{name},\n")
        with fails("1cls.csv", "leads out of", "restore the published table"):
            datasets.open_category(tmp_path, "candle", "visa")


def test_a_model_of_other_types_is_none(small_model, tmp_path, capsys):
    shutil.copytree(small_model, tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    whole = json.loads(path.read_text())
    for part, name, value in (
        ("training", "seen", [[1]]),
        ("training", "held_out", ["x"]),
        ("config", "false_alarms", 5e-324),
        ("config", "precision", "int8"),
        ("config", "dense", {}),
        ("config", "residual", [1]),
        ("framing", "size", [32768, 32768]),
        ("threshold", "rate", 1e29),
    ):
        changed = whole | {part: whole[part] | {name: value}}
        path.write_text(json.dumps(checksum.sealed(changed)))
        assert wtflow("info", tmp_path / "model") == 1, name
        assert str(path) in one_line(capsys.readouterr().err)


def test_pipes_are_not_waited_for(small_model, tmp_path, capsys):
    shutil.copytree(small_model, tmp_path / "model")
    tensors = tmp_path / "model" / "model.safetensors"
    tensors.unlink()
    os.mkfifo(tensors)
    assert wtflow("info", tmp_path / "model") == 1
    assert "model.safetensors: cannot be read (not a file)" in one_line(capsys.readouterr().err)
