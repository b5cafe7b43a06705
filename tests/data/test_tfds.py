"""Data sets prepared for TensorFlow Datasets: the same samples, and nothing half-written."""

import json
import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
import trees
from raising import fails

import wtflow_jax.data
from wtflow_jax.app.datasets import main
from wtflow_jax.data import (
    LAYOUTS,
    Held,
    Sample,
    Saturation,
    categories,
    open_category,
    read_image,
    read_mask,
    regions,
    tfds,
)
from wtflow_jax.support.files import alone

library = pytest.importorskip("tensorflow_datasets")

SIZE = (32, 64)
TREES = {
    "mvtec_ad": trees.mvtec_ad,
    "mpdd": trees.mvtec_ad,
    "mvtec_3d": trees.mvtec_3d,
    "mvtec_loco": trees.mvtec_loco,
    "visa": trees.visa,
    "btad": trees.btad,
    "mtd": trees.mtd,
    "kolektor_sdd": trees.kolektor,
    "folder": trees.folder,
}


@pytest.fixture
def ad(tmp_path):
    """A tree of one category, ``part``, and where to prepare it."""
    trees.mvtec_ad(tmp_path / "tree")
    return tmp_path / "tree", tmp_path / "out"


def stored(root, out, layout="mvtec_ad", name="part"):
    assert tfds.prepare(layout, root, out, name)
    return out / layout / name / "1.0.0"


def test_no_module_is_imported_that_a_file_names(ad, tmp_path, monkeypatch):
    directory = stored(*ad)
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'taken')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    path = directory / "features.json"
    whole = path.read_text()
    own = "tensorflow_datasets.core.features.image_feature.Image"
    assert own in whole
    path.write_text(whole.replace(own, "evil.Image"))
    assert open_category(ad[1], "part", "tfds:mvtec_ad").train[0].path.read_bytes()
    assert not (tmp_path / "taken").exists()


def on_disk(directory):
    """The files, but for TFDS's note on the default config."""
    files = (path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
    return {str(path) for path in files if ".config" not in path.parts}


def same(found, expected, root):
    """Whether samples equal a reader's, except for the source of their bytes."""
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.label, ours.kind) == (theirs.label, theirs.kind)
        pairs = list(zip((ours.path, *ours.masks), (theirs.path, *theirs.masks), strict=True))
        for file, path in pairs:
            assert isinstance(file, Held)
            assert file.read_bytes() == path.read_bytes()
            assert path.as_posix().endswith(str(file).partition("#")[2])
        assert np.array_equal(read_image(ours.path, SIZE), read_image(theirs.path, SIZE))
        assert np.array_equal(read_mask(ours, SIZE), read_mask(theirs, SIZE))


# What is stored


def test_every_layout_has_a_tree():
    assert TREES.keys() == LAYOUTS.keys()


@pytest.mark.parametrize("layout", TREES)
def test_samples_are_the_readers(layout, tmp_path, capsys):
    root, out = tmp_path / "tree", tmp_path / "out"
    TREES[layout](root)
    assert main(["prepare", layout, str(root), "--data-dir", str(out)]) == 0
    names = categories(root, layout)
    printed = capsys.readouterr()
    assert printed.out == (
        f"{LAYOUTS[layout].title}: {', '.join(names)}: take --data tfds:{layout} --root {out}\n"
    )
    assert [line.split(":")[0] for line in printed.err.splitlines()] == list(names)
    assert categories(out, f"tfds:{layout}") == names
    for name in names:
        found = open_category(out, name, f"tfds:{layout}")
        expected = open_category(root, name, layout)
        assert found.name == expected.name
        assert found.saturations == expected.saturations
        for split in ("train", "test", "validation"):
            same(getattr(found, split), getattr(expected, split), root)


def test_loco_keeps_masks_apart_and_saturations(tmp_path):
    trees.mvtec_loco(tmp_path / "tree")
    stored(tmp_path / "tree", tmp_path / "out", "mvtec_loco", "pushpins")
    category = open_category(tmp_path / "out", "pushpins", "tfds:mvtec_loco")
    assert category.saturations == {255: Saturation(300.0, False), 254: Saturation(0.25, True)}
    sample = next(s for s in category.test if len(s.masks) == 2)
    expected = open_category(tmp_path / "tree", "pushpins", "mvtec_loco")
    theirs = next(s for s in expected.test if len(s.masks) == 2)
    for ours, other in zip(
        regions(sample, SIZE, category.saturations),
        regions(theirs, SIZE, expected.saturations),
        strict=True,
    ):
        assert ours.saturation == other.saturation
        assert np.array_equal(ours.mask, other.mask)


def test_bytes_are_kept_whatever_they_are(ad):
    root, out = ad
    odd = {"000.png": b"no image\0\0", "001.png": b"\0", "002.png": b"", "003.png": b"\xff\n\0"}
    for name, content in odd.items():
        (root / "part" / "train" / "good" / name).write_bytes(content)
    stored(root, out)
    train = open_category(out, "part", "tfds:mvtec_ad").train
    assert [sample.path.read_bytes() for sample in train] == list(odd.values())
    with fails("part#train/good/000.png: cannot be decoded"):
        read_image(train[0].path, SIZE)


def test_a_split_without_images(tmp_path):
    root, out = tmp_path / "lone", tmp_path / "out"
    trees.write(root / "good" / "0.png", trees.picture(0))
    stored(root, out, "folder", "lone")
    found = open_category(out, "lone", "tfds:folder")
    assert (len(found.train), found.test, found.validation) == (1, (), ())


def test_stored_files_compare_by_name(ad):
    root, out = ad
    stored(root, out)
    one, two = (open_category(out, "part", "tfds:mvtec_ad") for _ in range(2))
    assert one == two
    path = one.train[1].path
    assert str(path) == f"{out}/mvtec_ad/part#train/good/001.png"
    files = {f for s in (*one.train, *one.test, *two.test) for f in (s.path, *s.masks)}
    assert len(files) == 4 + 4 + 2
    assert min(files, key=str).read_bytes()
    assert isinstance(one.train[0], Sample)


# TFDS itself


def test_builders_are_registered(ad):
    from wtflow_jax.data import tfds_builders

    root, out = ad
    assert tfds_builders.BUILDERS.keys() == LAYOUTS.keys()
    for name, builder in tfds_builders.BUILDERS.items():
        assert builder.builder_configs.keys() == LAYOUTS[name].published.keys()
        assert pickle.loads(pickle.dumps(builder)) is builder
    assert library.builder("mvtec_ad/bottle", data_dir=out).info.full_name.endswith("bottle/1.0.0")
    stored(root, out)
    source = library.builder_from_directory(out / "mvtec_ad" / "part" / "1.0.0").as_data_source()
    assert {name: len(split) for name, split in source.items()} == {"train": 4, "test": 4}
    example = pickle.loads(pickle.dumps(source["test"]))[1]
    assert example["path"] == b"part/test/dent/001.png"
    assert (example["kind"], example["label"]) == (b"dent", 1)
    assert np.array_equal(example["image"], trees.defect(1)[0])
    assert np.array_equal(example["masks"][0][..., 0] > 0, trees.defect(1)[1])


def test_neither_tensorflow_nor_the_network(ad):
    root, out = ad
    script = f"""
import os, socket, sys
from pathlib import Path
class Socket(socket.socket):
    def connect(self, address): os._exit(3)
    connect_ex = connect
socket.socket = Socket
socket.getaddrinfo = lambda *a, **k: os._exit(4)
import wtflow_jax.app.datasets as command
from wtflow_jax.data import open_category
assert not {{"tensorflow", "tensorflow_datasets"}} & set(sys.modules)
status = command.main(["prepare", "mvtec_ad", {str(root)!r}, "--data-dir", {str(out)!r}])
category = open_category(Path({str(out)!r}), "part", "tfds:mvtec_ad")
assert category.test[0].path.read_bytes()
assert "tensorflow_datasets" in sys.modules and "tensorflow" not in sys.modules
sys.exit(status)
"""
    temporary = ad[1].parent / "tmp"
    temporary.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"TMPDIR": str(temporary), "HOME": str(temporary)},
    )
    assert (done.returncode, done.stdout.count("\n")) == (0, 1), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(temporary.iterdir())
    assert {path.name for path in out.iterdir()} == {"mvtec_ad"}


# Prepared again, or not to the end


def test_prepared_before(ad, capsys):
    root, out = ad
    directory = stored(root, out)
    files = {path: path.stat().st_mtime_ns for path in directory.iterdir()}
    assert not tfds.prepare("mvtec_ad", root, out, "part")
    assert main(["prepare", "mvtec_ad", str(root), "--data-dir", str(out)]) == 0
    assert "part: already prepared" in capsys.readouterr().err
    assert files == {path: path.stat().st_mtime_ns for path in directory.iterdir()}
    trees.write(root / "part" / "train" / "good" / "001.png", trees.picture(9, 80))
    with fails("part: was prepared from other files than those of", "delete it"):
        tfds.prepare("mvtec_ad", root, out, "part")


def test_killed(ad):
    root, out = ad
    script = (
        "import itertools, os; from pathlib import Path; from wtflow_jax.data import tfds\n"
        "count = itertools.count(1)\n"
        f"tfds.prepare('mvtec_ad', Path({str(root)!r}), Path({str(out)!r}), 'part',"
        " lambda what, total: lambda: next(count) == 2 and os.kill(os.getpid(), 9))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    (unfinished,) = (out / "mvtec_ad" / "part").glob("incomplete.*")
    # Killed later, between TFDS's last file and its renaming of the directory.
    (unfinished / "dataset_info.json").touch()
    with fails("mvtec_ad: no category prepared there"):
        categories(out, "tfds:mvtec_ad")
    directory = stored(root, out)
    assert {path.parent.name for path in directory.parent.rglob("*.array_record*")} == {"1.0.0"}
    assert [path.name for path in directory.parent.iterdir()] == ["1.0.0"]


def test_interrupted_or_failing_leaves_nothing(ad, capsys, monkeypatch):
    root, out = ad

    def stop(*arguments):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tfds.prepare("mvtec_ad", root, out, "part", stop)
    assert on_disk(out) == set()

    lost = root / "part" / "test" / "dent" / "001.png"
    with fails("mvtec_ad/part: cannot be prepared: .*No such file or directory: '.*dent/001.png'"):
        tfds.prepare("mvtec_ad", root, out, "part", lambda *_: lambda: lost.unlink(missing_ok=True))
    assert on_disk(out) == set()

    monkeypatch.setattr(tfds, "prepare", stop)
    assert main(["prepare", "mvtec_ad", str(root), "--data-dir", str(out)]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "stopped"


def test_one_at_a_time(ad):
    root, out = ad
    with alone(out / "mvtec_ad" / "part"), fails("mvtec_ad/part: another process is writing there"):
        tfds.prepare("mvtec_ad", root, out, "part")
    stored(root, out)


# Errors


def test_not_installed(ad, monkeypatch, capsys):
    root, out = ad
    stored(root, out)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    monkeypatch.delitem(sys.modules, "wtflow_jax.data.tfds_builders", raising=False)
    monkeypatch.delattr(wtflow_jax.data, "tfds_builders", raising=False)
    assert main(["prepare", "mvtec_ad", str(root), "--data-dir", str(out)]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: tensorflow-datasets is not installed")
    assert 'pip install -e ".[tfds]"' in error
    assert categories(out, "tfds:mvtec_ad") == ("part",)
    with fails("tensorflow-datasets is not installed"):
        open_category(out, "part", "tfds:mvtec_ad")


def test_bad_calls(ad):
    root, out = ad
    with fails("--data mvtec: no such choice", "mvtec_ad"):
        categories(out, "tfds:mvtec")
    with fails("out/mvtec_ad: no category prepared there", "prepare mvtec_ad ROOT --data-dir"):
        open_category(out, "part", "tfds:mvtec_ad")
    with fails("tree/parts: no such category: choose one of part"):
        tfds.prepare("mvtec_ad", root, out, "parts")
    with fails("--data x: no such choice"):
        tfds.prepare("x", root, out, "part")
    stored(root, out)
    with fails("parts: no such category", "choose one of part"):
        open_category(out, "parts", "tfds:mvtec_ad")
    (root / "file").touch()
    with fails("file/mvtec_ad/part: cannot be prepared: .*Not a directory"):
        tfds.prepare("mvtec_ad", root, root / "file", "part")


@pytest.mark.parametrize("content", [None, "{", "{}", "[]"])
@pytest.mark.parametrize("name", ["metadata.json", "dataset_info.json"])
def test_damaged_description(ad, name, content):
    root, out = ad
    file = stored(root, out) / name
    file.unlink() if content is None else file.write_text(content)
    # Without dataset_info.json TFDS has not finished the data set.
    unfinished = content is None and name == "dataset_info.json"
    with fails("no category prepared there" if unfinished else "part: not as prepared", "prepare"):
        open_category(out, "part", "tfds:mvtec_ad")


def test_other_number_of_records(ad):
    root, out = ad
    directory = stored(root, out)
    metadata = json.loads((directory / "metadata.json").read_text())
    metadata["splits"]["train"].pop()
    (directory / "metadata.json").write_text(json.dumps(metadata))
    with fails("4 records instead of 3", "prepare it again"):
        open_category(out, "part", "tfds:mvtec_ad")


@pytest.mark.parametrize("damage", ["gone", "cut", "changed"])
def test_damaged_records(ad, damage):
    root, out = ad
    directory = stored(root, out)
    path = open_category(out, "part", "tfds:mvtec_ad").train[2].path
    (file,) = directory.glob("*-train.array_record*")
    content = file.read_bytes()
    if damage == "gone":
        shutil.rmtree(directory)
    else:
        where = slice(len(content) // 2, None) if damage == "cut" else slice(100, 2000)
        file.write_bytes(content[: where.start] + (b"" if damage == "cut" else b"x" * 1900))
    with pytest.raises(OSError, match=r"the record cannot be read: [^\n]+part#train/good/002.png"):
        path.read_bytes()
    with fails("part#train/good/002.png: cannot be decoded", "the record cannot be read"):
        read_image(path, SIZE)


# An experiment on both


@pytest.mark.slow
def test_same_figures(tmp_path):
    from running import run

    root, out = tmp_path / "tree", tmp_path / "out"
    trees.mvtec_ad(root)
    stored(root, out)

    def rows(data, source):
        runs = tmp_path / data.partition(":")[0]
        places = "--out", runs, "--models", runs / "models", "--cache", tmp_path / "cache"
        flags = "--velocity", "exact", "--image-size", 64, "--data", data, "--root", source
        assert run("mvtec", *flags, *places) == 0

        def drop(pairs):
            return {k: v for k, v in pairs if not k.startswith(("seconds", "environment"))}

        results = json.loads((runs / "results.json").read_text(), object_pairs_hook=drop)
        with np.load(next(runs.rglob("scores.npz"))) as arrays:
            return results["rows"], arrays["map"], arrays["path"]

    original, maps, _ = rows("mvtec_ad", root)
    found, stored_maps, paths = rows("tfds:mvtec_ad", out)
    assert found == original
    assert original[0]["category"] == "part"
    assert np.array_equal(stored_maps, maps)
    assert paths[0] == f"{out}/mvtec_ad/part#test/dent/000.png"
