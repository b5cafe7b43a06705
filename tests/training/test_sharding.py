"""Training over several processes of this machine: the same losses, and checkpoints that move."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trees
from jax.sharding import PartitionSpec

from wtflow_jax.support.errors import WTFlowError
from wtflow_jax.training import sharding

TESTS = Path(__file__).parents[1]
MVTEC = TESTS.parent / "experiments" / "mvtec.py"


def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def together(directory, mesh, epochs=4, streamed=False):
    """Train with one process per device; return the first's results, check all agree."""
    count, at = mesh[0] * mesh[1], port()
    running = []
    for process in range(count):
        asked = {
            "port": at,
            "processes": count,
            "process": process,
            "mesh": mesh,
            "directory": str(directory),
            "epochs": epochs,
            "streamed": streamed,
        }
        command = [sys.executable, str(TESTS / "together.py"), json.dumps(asked)]
        # One thread each: two cores are shared by all.
        flags = f"{os.environ['XLA_FLAGS']} --xla_cpu_multi_thread_eigen=false"
        environment = os.environ | {"XLA_FLAGS": flags}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        running.append(subprocess.Popen(command, env=environment, **pipes))
    ended = [(process, *process.communicate(timeout=600)) for process in running]
    for process, _, told in ended:
        assert process.returncode == 0, told
    found = [json.loads(out.splitlines()[-1]) for _, out, _ in ended]
    assert all(one == found[0] for one in found)
    assert found[0]["devices"] == count
    return found[0]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return together(tmp_path_factory.mktemp("alone"), (1, 1))


@pytest.mark.long
def test_losses_are_those_of_one_process(alone, tmp_path):
    found = together(tmp_path, (2, 2))
    np.testing.assert_allclose(found["losses"], alone["losses"], rtol=1e-5)
    assert found["sum"] == pytest.approx(alone["sum"], rel=1e-5)
    assert found["share"] == pytest.approx(1 / 2, rel=0.05)


@pytest.mark.long
def test_a_checkpoint_goes_to_another_layout(alone, tmp_path):
    """The first two processes read each its part of a batch from disk."""
    half = together(tmp_path / "half", (2, 1), epochs=2, streamed=True)
    np.testing.assert_allclose(half["losses"], alone["losses"][:2], rtol=1e-5)
    for after in (1, 2), (1, 1):
        place = shutil.copytree(tmp_path / "half", tmp_path / f"{after}")
        found = together(place, after)
        assert found["losses"][:2] == half["losses"]
        np.testing.assert_allclose(found["losses"], alone["losses"], rtol=1e-5)


@pytest.mark.long
def test_an_experiment_in_two_processes(tmp_path):
    """One table, written by the first; one process alone finds it finished."""
    trees.mvtec_ad(tmp_path / "data", train=8)
    script = MVTEC
    at = port()

    def start(out, *flags):
        places = {"root": "data", "cache": "cache", "models": f"{out}-models", "out": out}
        where = [part for key, name in places.items() for part in (f"--{key}", tmp_path / name)]
        command = [sys.executable, script, *where, "--smoke", "--velocity", "patch", *flags]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(list(map(str, command)), **pipes)

    def end(process):
        out, told = process.communicate(timeout=600)
        assert process.returncode == 0, told
        return out

    def row(out):
        (found,) = json.loads((tmp_path / out / "results.json").read_text())["rows"]
        figures = {k: v for k, v in found.items() if k.startswith(("image", "pixel", "loss"))}
        return {k: v for k, v in figures.items() if v is not None}

    end(start("one"))
    mesh = "--mesh", 1, 2, "--coordinator", f"127.0.0.1:{at}", "--processes", 2
    told = [end(p) for p in [start("two", *mesh, "--process", i) for i in range(2)]]
    assert "written to" in told[0]
    assert "written to" not in told[1]
    one, two = row("one"), row("two")
    assert one.keys() == two.keys() >= {"image_auroc", "pixel_auroc"}
    for name, value in one.items():
        # Of the spread of two close epochs little is left: a hundredth of a percent is equal.
        np.testing.assert_allclose(two[name], value, rtol=1e-3, atol=0.01, err_msg=name)
    # The same flags on one device: nothing is left to do.
    assert "written to" in end(start("two", "--resume"))


@pytest.mark.long
@pytest.mark.parametrize(
    ("flag", "value", "other"),
    # The last is out of its range, which the process by itself would not join with.
    [("--models", "a", "b"), ("--steps-det", "1", "2"), ("--width", "8", "9")],
)
def test_processes_that_were_given_different_flags(flag, value, other, tmp_path):
    script, at = MVTEC, f"127.0.0.1:{port()}"
    flags = ["--smoke", "--cache", "c", "--mesh", "1", "2", "--coordinator", at, "--processes", "2"]
    running = [
        subprocess.Popen(
            [sys.executable, str(script), *flags, "--process", str(i), flag, (value, other)[i]],
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    for process in running:
        _, told = process.communicate(timeout=600)
        assert process.returncode == 1
        assert f"error: {flag}: must be the same in all processes\n" in told
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_an_experiment_on_several_devices_of_one_process(tmp_path):
    """Model parameters in two parts, batches in four: the losses of one device."""
    trees.mvtec_ad(tmp_path / "data", train=8)
    script = MVTEC
    losses = []
    for name, devices, mesh in (("one", "1", ["1", "1"]), ("four", "4", ["2", "2"])):
        flags = [
            "--root",
            "data",
            "--cache",
            "c",
            "--smoke",
            "--velocity",
            "patch",
            "--out",
            name,
            "--models",
            f"{name}-m",
        ]
        done = subprocess.run(
            [sys.executable, str(script), *flags, "--mesh", *mesh],
            cwd=tmp_path,
            env=os.environ | {"JAX_NUM_CPU_DEVICES": devices},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        (row,) = json.loads((tmp_path / name / "results.json").read_text())["rows"]
        losses.append([epoch["loss"] for epoch in row["history"]])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


@pytest.mark.long
def test_a_run_of_several_processes_ends_by_sigterm(tmp_path):
    trees.mvtec_ad(tmp_path / "data", train=8)
    script, at = MVTEC, f"127.0.0.1:{port()}"
    flags = ["--root", "data", "--cache", "c", "--smoke", "--velocity", "patch"]
    flags += ["--epochs", "100000", "--mesh", "1", "2", "--coordinator", at, "--processes", "2"]
    running = [
        subprocess.Popen(
            [sys.executable, str(script), *flags, "--process", str(i)],
            cwd=tmp_path,
            stderr=subprocess.DEVNULL,
        )
        for i in range(2)
    ]
    while not list(tmp_path.glob("runs/models/*/checkpoint")):
        time.sleep(0.2)
        assert all(process.poll() is None for process in running)
    for process in running:
        process.send_signal(signal.SIGTERM)
    for process in running:
        process.communicate(timeout=300)
        assert process.returncode != 0


def test_the_last_axis_that_divides_is_split():
    mesh = jax.sharding.AbstractMesh((1, 4), sharding.AXES)
    layout = sharding.Layout(mesh)
    tree = {"a": jnp.zeros((3, 3, 8, 16)), "b": jnp.zeros(6), "c": jnp.zeros((12, 6))}
    specs = {name: found.spec for name, found in layout.shardings(tree).items()}
    assert specs == {
        "a": PartitionSpec(None, None, None, "model"),
        "b": PartitionSpec(),
        "c": PartitionSpec("model"),
    }


def test_devices_that_are_not_there():
    with pytest.raises(WTFlowError, match=r"--mesh 2 3: takes 6 devices, there are 1"):
        sharding.layout(2, 3)
    assert sharding.layout(1, 1) == sharding.LOCAL


def test_processes_that_do_not_meet():
    command = "from wtflow_jax.training import sharding\nsharding.connect('auto', 1, 0)"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True)
    assert "--coordinator auto: cannot connect (coordinator_address should be defined.)" in (
        done.stderr
    )
