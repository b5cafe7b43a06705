"""Files from strangers, tables, JSON, tensors and maps: a result or one line."""

import io
import json
import os
import shutil
import types

import jinja2
import numpy as np
import pytest
import rubbish
import trees
from raising import fails
from running import one_line, wtflow
from safetensors.numpy import save_file

from wtflow_jax.app.report import page
from wtflow_jax.backbones import features, weights
from wtflow_jax.detector import model
from wtflow_jax.metrics import figures
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
        (tmp_path / "shards.json").write_bytes(text)
        quiet(stream.Shards, tmp_path)
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


def test_altered_runs(small_model, tmp_path, capsys, monkeypatch):
    """What report is given: results.json, scores.npz and predictions.jsonl."""
    trees.write(tmp_path / "in" / "good" / "0.png", trees.noisy(60))
    trees.write(tmp_path / "in" / "dent" / "0.png", trees.defect(0)[0])
    assert wtflow("evaluate", small_model, tmp_path / "in", "--out", tmp_path / "run") == 0
    assert wtflow("predict", small_model, tmp_path / "in", "--out", tmp_path / "found") == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    del results["rows"][0]["environment"], results["config"]
    results |= {"config": {}}
    (row,) = results["rows"]
    results["rows"] = [{name: row[name] for name in ("category", "scores", "decision", "colours")}]
    row = json.loads((tmp_path / "found" / "predictions.jsonl").read_text().splitlines()[0])
    capsys.readouterr()
    # The library of charts is large, and the same for all.
    library = types.SimpleNamespace(javascript_bundle=lambda _: "")
    monkeypatch.setattr(page, "_packages", lambda: (jinja2, library))
    for directory, name, value in (
        (tmp_path / "run", "results.json", results),
        (tmp_path / "found", "predictions.jsonl", row),
    ):
        texts = [json.dumps(other).encode() for other in rubbish.altered(value)][::10]
        for text in texts + rubbish.texts()[:9]:
            (directory / name).write_bytes(text)
            (directory / "report.html").unlink(missing_ok=True)
            if wtflow("report", directory):
                one_line(capsys.readouterr().err)
                assert not (directory / "report.html").exists()
    (tmp_path / "found" / "predictions.jsonl").write_text(json.dumps(row | {"map": "../secret"}))
    assert wtflow("report", tmp_path / "found") == 1
    assert "'../secret' leads out of" in one_line(capsys.readouterr().err)
    for text in rubbish.texts():
        (tmp_path / "found" / "predictions.jsonl").write_bytes(text + b"\n")
        arguments = "predict", small_model, tmp_path / "in", "--out", tmp_path / "found"
        if text:
            assert wtflow(*arguments, "--resume") == 1
            assert "is not of wtflow predict" in one_line(capsys.readouterr().err)


def test_scores_that_are_of_another_form(tmp_path):
    count = 3
    whole = {"path": np.array(["a"] * count), "kind": np.array(["b"] * count)}
    whole |= {"label": np.zeros(count, bool), "known": np.ones(count, bool)}
    whole |= {"score": np.zeros(count, np.float32), "map": np.zeros((count, 2, 2), np.float32)}
    path = tmp_path / "scores.npz"
    np.savez(path, **whole)
    assert len(figures.load(path).paths) == count
    for name, array in whole.items():
        for other in (array[:2], array[None], array.astype("S4"), np.array(object())):
            np.savez(path, **whole | {name: other})
            with fails("scores.npz: cannot be read"):
                figures.load(path)
    content = io.BytesIO()
    np.save(content, np.zeros(2))
    header = content.getvalue().replace(b"(2,)", b"(2" + b"0" * 12 + b",)")
    for hostile in (b"", b"PK\x05\x06" + bytes(18), content.getvalue(), header, b"\x80\x04."):
        path.write_bytes(hostile)
        with fails("scores.npz: cannot be read"):
            figures.load(path)


def test_hostile_tensors(tmp_path):
    key = features._Key("a", (1,), "b", False, (1, 1), "c", "d")
    for name, content in rubbish.tensors().items():
        path = tmp_path / "weights.safetensors"
        path.write_bytes(content)
        came = quiet(weights.load_state, path)
        assert came <= (name in {"infinite", "bfloat16", "float8"}), name
        assert features._load(path, key) is None, name


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n%%EOF\n"


def test_maps_that_strangers_drew(tmp_path, capsys, monkeypatch):
    """No program is started for one, and none is read from elsewhere."""
    tools, run_ = tmp_path / "tools", tmp_path / "run"
    tools.mkdir()
    (tools / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path / 'started'}\n")
    (tools / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    private = trees.write(tmp_path / "private.png", np.zeros((8, 8), np.uint8))
    bomb = rubbish.bombs(tmp_path / "bombs")["black.png"]
    monkeypatch.setattr(page, "_packages", lambda: (jinja2, None))
    row = {"path": "gone.png", "score": 0.5, "threshold": 0.1, "decision": "good", "error": None}
    (run_ / "maps").mkdir(parents=True)
    (run_ / "predictions.jsonl").write_text(json.dumps(row | {"map": "maps/x.png"}) + "\n")
    drawn = run_ / "maps" / "x.png"
    for draw, told in (
        (lambda: drawn.write_bytes(EPS), "none of the formats"),
        (lambda: drawn.symlink_to(private), "leads out of"),
        (lambda: drawn.write_bytes(bomb.read_bytes()), "million pixels"),
        (lambda: os.mkfifo(drawn), "not a file"),
        (lambda: trees.write(drawn, np.zeros((8, 8), np.uint8)), "no map of wtflow predict"),
    ):
        drawn.unlink(missing_ok=True)
        draw()
        assert wtflow("report", run_) == 1
        assert told in one_line(capsys.readouterr().err)
    assert not (tmp_path / "started").exists()


def test_compressed_scores_are_not_read(tmp_path):
    np.savez_compressed(tmp_path / "scores.npz", map=np.zeros(1 << 24, np.float32))
    with fails("scores.npz: cannot be read", "compressed"):
        figures.load(tmp_path / "scores.npz")


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
    row = {"category": "a", "scores": "scores.npz"}
    results = {"experiment": "mvtec", "config": {}, "rows": [row]}
    (tmp_path / "results.json").write_text(json.dumps(results))
    os.mkfifo(tmp_path / "scores.npz")
    assert wtflow("report", tmp_path) == 1
    assert "'scores.npz' is not a file" in one_line(capsys.readouterr().err)
