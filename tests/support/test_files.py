"""Files that are whole or not there, and directories that one run at a time writes to."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest
from raising import fails
from wtflow_jax.support.atomic import (
    LOCK,
    alone,
    check_empty,
    replacing,
    replacing_directory,
    sweep,
)

from wtflow_jax.support import atomic

KILLED = """
import os, sys
from pathlib import Path
from wtflow_jax.support import atomic
from wtflow_jax.support.atomic import alone, replacing, replacing_directory
target, how = Path(sys.argv[1]), sys.argv[2]
with {"file": replacing, "directory": replacing_directory, "alone": alone}[how](target) as part:
    if how == "file":
        part.write_text("half")
    elif how == "directory":
        (part / "half").write_text("")
        os.replace(target, Path(str(part).replace(".part", ".old")))
    print("writing", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other():
    """Starts a process that is in the middle of writing; it is killed in the end."""
    started = []

    def start(target, how):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(target), how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == "writing\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def killed(process):
    process.kill()
    process.wait()


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


def test_a_directory_is_replaced_or_stays(tmp_path):
    path = tmp_path / "d"
    for text in ("one", "two"):
        with replacing_directory(path) as part:
            (part / "a").write_text(text)
    with pytest.raises(ValueError, match="in between"), replacing_directory(path):
        raise ValueError("in between")
    assert (path / "a").read_text() == "two"
    assert names(tmp_path) == ["d"]


def test_what_a_killed_process_left_is_swept_and_no_other(tmp_path, other):
    path = tmp_path / "below" / "a.txt"
    dead, alive = other(path, "file"), other(path, "file")
    killed(dead)
    assert len(names(path.parent)) == 2
    sweep(tmp_path)
    (left,) = path.parent.iterdir()
    assert left.read_text() == "half"
    killed(alive)
    sweep(tmp_path)
    assert names(path.parent) == []


def test_what_others_call_a_part_is_theirs(tmp_path):
    for name in ("film.part", "a.0123.part", f"b.{'g' * 32}.part", "c.old"):
        (tmp_path / name).write_text("")
    sweep(tmp_path)
    assert len(names(tmp_path)) == 4


def test_a_directory_killed_while_it_was_replaced_is_put_back(tmp_path, other):
    path = tmp_path / "model"
    path.mkdir()
    (path / "whole").write_text("")
    killed(other(path, "directory"))
    assert not path.exists()
    with replacing_directory(path) as part:
        assert names(path) == ["whole"]
        (part / "newer").write_text("")
    assert names(path) == ["newer"]
    assert names(tmp_path) == ["model"]


def test_one_run_at_a_time(tmp_path, other):
    out = tmp_path / "out"
    running = other(out, "alone")
    with (
        fails(rf"{out}: process {running.pid} of .* is writing there", "another --out"),
        alone(out),
    ):
        pass
    # Whoever is killed holds nothing.
    killed(running)
    assert names(out) == [LOCK]
    check_empty(out)
    with alone(out):
        assert (out / LOCK).read_text().startswith(f"process {os.getpid()} of ")
    assert names(out) == []


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


def test_whoever_waits_finds_what_the_other_wrote(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    both = [spawn.Process(target=count, args=(tmp_path / "d", 50)) for _ in range(3)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert (tmp_path / "d" / "n").read_text() == "150"


def test_a_stopped_process_lets_go(tmp_path, other):
    running = other(tmp_path / "d", "alone")
    running.send_signal(signal.SIGTERM)
    running.wait()
    with alone(tmp_path / "d"):
        pass


def test_a_link_to_a_directory_stays_one(tmp_path):
    there, link = tmp_path / "there", tmp_path / "below" / "link"
    there.mkdir()
    link.parent.mkdir()
    link.symlink_to(there)
    with replacing_directory(link) as part:
        (part / "a").write_text("")
    assert link.is_symlink()
    assert names(there) == ["a"]
    assert names(tmp_path) == ["below", "there"]


def test_what_a_killed_process_left_is_nothing(tmp_path, other):
    path = tmp_path / "out" / "below" / "a.txt"
    killed(other(path, "file"))
    check_empty(tmp_path / "out")
    path.write_text("")
    with fails("out: is not empty; give another --out"):
        check_empty(tmp_path / "out")


@pytest.mark.parametrize("at_once", [True, False])
def test_a_directory_is_there_at_all_times(tmp_path, monkeypatch, at_once):
    """Where two names are exchanged in one step, and where it takes two, stopped between them."""
    path, replace = tmp_path / "d", os.replace
    with replacing_directory(path) as part:
        (part / "a").write_text("one")

    def stop(source, target):
        replace(source, target)
        monkeypatch.setattr(os, "replace", replace)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stop)
    if not at_once:
        monkeypatch.setattr(atomic, "_exchange", lambda *_: False)
    with contextlib.suppress(KeyboardInterrupt), replacing_directory(path) as part:
        (part / "a").write_text("two")
    assert (path / "a").read_text() == ("two" if at_once else "one")
    assert names(tmp_path) == ["d"]


def test_a_lock_of_others_is_theirs(tmp_path):
    thesis, out = tmp_path / "thesis", tmp_path / "out"
    thesis.write_text("words")
    out.mkdir()
    (out / LOCK).symlink_to(thesis)
    with pytest.raises(OSError, match="symbolic links"), alone(out):
        pass
    assert thesis.read_text() == "words"
    (out / LOCK).unlink()
    (out / LOCK).write_text("1234")
    with fails(f"{out / LOCK}: is another program's"), alone(out):
        pass
    assert (out / LOCK).read_text() == "1234"
