"""Files that are whole or not there, and directories that one run at a time writes to."""

import json
import multiprocessing
import os
import subprocess
import sys
import time

import pytest
from raising import fails

from wtflow_jax.support.files import LOCK, alone, check_empty, replacing, write_json, written

HALF = """
import sys
from pathlib import Path
from wtflow_jax.support.files import alone, replacing
with alone(Path(sys.argv[1])), replacing(Path(sys.argv[1], "a.txt")) as part:
    part.write_text("half")
    print("writing", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path):
    """A process in the middle of writing ``out/a.txt``, alone; it is killed in the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", HALF, str(tmp_path / "out")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "writing\n"
    yield process
    process.kill()
    process.communicate()


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_a_file_is_replaced_or_stays(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with replacing(path) as part:
        part.write_text("one")
        assert not path.exists()
    assert path.read_text() == "one"
    with pytest.raises(TypeError), replacing(path) as part:
        part.write_text(2)
    assert path.read_text() == "one"
    assert names(path.parent) == ["a.txt"]
    # As readable as the user's other files are.
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_json(tmp_path):
    write_json(tmp_path / "a.json", {"b": tmp_path})
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": str(tmp_path)}


@pytest.mark.slow
def test_whoever_is_killed_holds_nothing_and_leaves_nothing(tmp_path, other):
    out = tmp_path / "out"
    with fails(rf"{out}: another process is writing there", "another --out"), alone(out):
        pass
    other.kill()
    other.wait()
    assert len(names(out)) == 2
    assert written(out) == set()
    check_empty(out)
    with alone(out):
        assert names(out) == [LOCK]
    assert names(out) == []


def test_what_others_call_a_part_is_theirs(tmp_path):
    for name in ("film.part", "a.0123.part", f"b.{'g' * 32}.part"):
        (tmp_path / name).write_text("")
    with alone(tmp_path):
        pass
    assert len(names(tmp_path)) == 3


def test_what_is_half_written_counts_nothing(tmp_path):
    out = tmp_path / "out"
    with alone(out), replacing(out / "below" / "a") as part:
        part.write_text("")
        check_empty(out)
    assert written(out) == {out / "below" / "a"}
    check_empty(out, out / "below" / "a")
    with fails("out: is not empty; give another --out"):
        check_empty(out)


def test_a_directory_in_which_nothing_was_written_is_taken_away(tmp_path):
    with alone(tmp_path / "a"):
        pass
    assert names(tmp_path) == []
    (tmp_path / "b").mkdir()
    with alone(tmp_path / "b"):
        pass
    assert names(tmp_path) == ["b"]
    (tmp_path / "c").write_text("")
    with fails("c: is a file; give a directory"), alone(tmp_path / "c"):
        pass


def count(path, rounds):
    for _ in range(rounds):
        with alone(path, wait=True):
            number = int((path / "n").read_text()) if (path / "n").exists() else 0
            time.sleep(0.002)
            (path / "n").write_text(str(number + 1))


@pytest.mark.slow
def test_whoever_waits_finds_what_the_other_wrote(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    both = [spawn.Process(target=count, args=(tmp_path / "d", 50)) for _ in range(3)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert (tmp_path / "d" / "n").read_text() == "150"
