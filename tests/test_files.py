"""Which files a command line means."""

import io

import pytest
import trees

from wtflow_jax.data.listing import find
from wtflow_jax.support.errors import WTFlowError


@pytest.fixture
def tree(tmp_path, monkeypatch):
    for name in ("b.png", "a.JPG", "deep/er/c.tiff", "deep/d.bmp", ".hidden/e.png"):
        trees.write(tmp_path / "in" / name, trees.picture(0))
    (tmp_path / "in" / "notes.txt").write_text("")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)


def names(*arguments):
    return [path.as_posix() for path in find(arguments)]


def test_directories_files_and_patterns(tree):
    everything = ["in/a.JPG", "in/b.png", "in/deep/d.bmp", "in/deep/er/c.tiff"]
    assert names("in") == everything
    assert names("in/b.png", "in/deep") == ["in/b.png", "in/deep/d.bmp", "in/deep/er/c.tiff"]
    assert names("in/*") == ["in/a.JPG", "in/b.png"]
    assert sorted(names("in/**/*.*")) == everything
    # A file that is asked for by name is one whatever it is called.
    assert names("in/notes.txt") == ["in/notes.txt"]


def test_a_list_on_standard_input(tree, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"in/b.png\n\nnowhere.png\n")))
    assert names("-") == ["in/b.png", "nowhere.png"]


@pytest.mark.parametrize("argument", ["nowhere", "empty", "in/*.gif"])
def test_nothing_there_is_said(tree, argument):
    with pytest.raises(WTFlowError, match=f"^{argument.replace('*', '.')}: no "):
        names(argument)


def test_patterns_enter_each_directory_once(tree, tmp_path):
    for name in ("one", "two"):
        (tmp_path / "in" / name).symlink_to(".")
    (tmp_path / "in" / "s[0]").mkdir()
    trees.write(tmp_path / "in" / "s[0]" / "f.png", trees.picture(0))
    assert names("in/**/*.png") == ["in/b.png", "in/s[0]/f.png"]
    assert names(f"{tmp_path}/i*/**/er/**/*") == [f"{tmp_path}/in/deep/er/c.tiff"]
    assert sorted(names("**/*.bmp")) == ["in/deep/d.bmp"]
