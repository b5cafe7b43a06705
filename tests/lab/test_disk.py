"""Full or read-only disks, and directories that two runs share."""

import os
import subprocess
import sys

import pytest
import trees
from running import one_line

from kills import ROOT, finish, left, start, trained
from wtflow_jax.support.files import alone

pytestmark = pytest.mark.long

MVTEC = ROOT / "experiments" / "mvtec.py", "--smoke", "--epochs", 3, "--velocity", "patch"
PLACES = "--out", "t/out", "--models", "t/models", "--cache", "t/cache"
FULL = """
set -u
for place in cache:100k models:200k out:8k; do
    mkdir -p t/${place%:*} && mount -t tmpfs -o size=${place#*:} tmpfs t/${place%:*} || exit 77
done
for place in cache models out none; do
    "$@" 2> told-$place; echo $? >> status
    find t -name '*.part' -o -name '.lock' -o -name '*tmp*' >> left
    if [ $place != none ]; then mount -o remount,size=500m t/$place; fi
done
mkdir moved && cp -r t/. moved
"""
SAID = {
    "cache": "free space or choose another directory by --out, --models or --cache",
    "models": "a checkpoint cannot be written (No space left on device",
    "out": "free space or choose another directory by --out",
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    place = tmp_path_factory.mktemp("whole")
    finish((*MVTEC, *PLACES), place)
    return trained(place / "t")


def test_full_disks_are_told_one_after_another_and_the_run_goes_on(whole, tmp_path):
    command = sys.executable, *map(str, (*MVTEC, *PLACES, "--resume"))
    subprocess.run(
        ["unshare", "-m", "bash", "-c", FULL, "bash", *command],
        cwd=tmp_path,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "COLUMNS": "120"},
        check=False,
    )
    if not (tmp_path / "status").exists():
        pytest.skip("needs the right to mount file systems of its own")
    for place, said in SAID.items():
        assert said in one_line((tmp_path / f"told-{place}").read_text())
    assert (tmp_path / "status").read_text().split() == ["1", "1", "1", "0"]
    assert (tmp_path / "left").read_text() == ""
    assert trained(tmp_path / "moved") == whole


def test_a_place_that_may_not_be_written(tmp_path):
    # Not even by root.
    for flag in ("--out", "--models", "--cache"):
        running = start((*MVTEC, *PLACES, flag, "/proc/nothing"), tmp_path)
        _, stderr = running.communicate()
        assert running.returncode == 1
        assert "/proc/nothing" in one_line(stderr)


def test_two_runs_of_one_cache_and_one_store(whole, tmp_path):
    """Both succeed: one waits while the other trains."""
    both = [start((*MVTEC, *PLACES, "--out", name), tmp_path) for name in ("t/out", "t/other")]
    for running in both:
        _, stderr = running.communicate()
        assert running.returncode == 0, stderr
    assert left(tmp_path) == []
    assert trained(tmp_path / "t") == whole
    (tmp_path / "t" / "out").rename(tmp_path / "t" / "first")
    (tmp_path / "t" / "other").rename(tmp_path / "t" / "out")
    assert trained(tmp_path / "t") == whole


def test_two_runs_of_one_directory(tmp_path):
    command = (*MVTEC, *PLACES, "--resume")
    running = start(command, tmp_path)
    while not (tmp_path / "t" / "out" / ".lock").exists():
        assert running.poll() is None
    second = start(command, tmp_path)
    _, stderr = second.communicate()
    assert second.returncode == 1
    assert "t/out: another process is writing there; wait for it, or give" in one_line(stderr)
    running.terminate()
    _, stderr = running.communicate()
    assert running.returncode == 143, stderr


def test_two_commands_of_one_directory(tmp_path):
    for i in range(6):
        trees.write(tmp_path / "good" / f"{i}.png", trees.noisy(i))
    finish(("-m", "wtflow_jax", "fit", "good", "--out", "model", "--image-size", 64), tmp_path)
    with alone(tmp_path / "found"):
        for other in (("predict", "model", "good"), ("fit", "good")):
            second = start(("-m", "wtflow_jax", *other, "--out", "found"), tmp_path)
            _, stderr = second.communicate()
            assert "found: another process is writing there" in one_line(stderr)
