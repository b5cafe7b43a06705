"""Being asked to stop, in processes of their own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from wtflow_jax.detector.config import Config
from wtflow_jax.lab import training
from wtflow_jax.support import command, signals
from wtflow_jax.training import schedule, train

ROOT = Path(__file__).parents[1]
START = """
import hashlib, sys, time
from wtflow_jax.support import command, signals
signals.GRACE = 0.5

def work():
    print("ready", flush=True)
"""
END = """
    return 0

sys.exit(command.status(work, again="go on"))
"""
BUSY = "    hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"
SAVING = """
    with signals.deferred():
        while not signals.asked():
            time.sleep(0.01)
        signals.answer()
        time.sleep(1)
        print("saved", flush=True)
        signals.leave()
"""
STUBBORN = """
    with signals.deferred():
        while True:
            time.sleep(0.01)
            if signals.asked():
                print("asked", flush=True)
"""


def stopped(body, number, then=None):
    """Run a body that is sent a signal; its status and what it printed."""
    running = subprocess.Popen(
        [sys.executable, "-c", START + body + END],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stdout.readline() == "ready\n"
    # Within the call that follows.
    time.sleep(0.3)
    running.send_signal(number)
    if then is not None:
        assert running.stdout.readline() == "asked\n"
        running.send_signal(then)
    return (*running.communicate(timeout=60)[::-1], running.returncode)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_command_in_one_line(number, status):
    assert stopped("    time.sleep(60)", number) == ("stopped; go on\n", "", status)


def test_what_cannot_be_interrupted_is_left_after_a_while():
    told, _, status = stopped(BUSY, signal.SIGTERM)
    assert told == "stopped, being busy for 0.5 seconds; go on\n"
    assert status == 143


def test_a_signal_while_a_module_is_imported(tmp_path):
    """Here one that swallows whatever is raised in it."""
    (tmp_path / "slow.py").write_text(
        "import time\ntry:\n    time.sleep(60)\nexcept BaseException:\n    pass\n"
    )
    body = f"    sys.path.insert(0, {str(tmp_path)!r})\n    import slow"
    assert stopped(body, signal.SIGINT) == ("stopped\n", "", 130)


def test_a_signal_in_a_callback_that_lets_no_exception_through():
    body = """
    import weakref
    class Item: pass
    item = Item()
    reference = weakref.ref(item, lambda _: time.sleep(60))
    del item
    time.sleep(60)
"""
    assert stopped(body, signal.SIGTERM) == ("stopped; go on\n", "", 143)


def test_saving_takes_its_time():
    assert stopped(SAVING, signal.SIGINT) == ("stopped; go on\n", "saved\n", 130)


def test_the_second_signal_is_obeyed_at_once():
    told, _, status = stopped(STUBBORN, signal.SIGINT, then=signal.SIGTERM)
    assert told == ""
    assert status == 143


def test_signals_are_raised_within_what_is_deferred():
    def work():
        with signals.deferred():
            signal.raise_signal(signal.SIGINT)
            assert signals.asked()
            with signals.deferred(False):
                raise AssertionError("is not reached")
        return 0

    assert command.status(work) == 130
    # What was before is again.
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert command.status(lambda: 7) == 7


def test_a_command_within_another_answers_for_itself():
    def inner():
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("is not reached")

    def outer():
        assert command.status(inner) == 143
        assert not signals.asked()
        return 0

    assert command.status(outer) == 0


def test_a_save_that_has_begun_is_finished():
    body = """
    with signals.deferred():
        with signals.writing():
            time.sleep(1.5)
            print("saved", flush=True)
        signals.leave()
"""
    assert stopped(body, signal.SIGTERM) == ("stopped; go on\n", "saved\n", 143)


def test_what_is_heard_late_has_no_time_to_save():
    body = """
    with signals.deferred():
        while not signals.asked():
            time.sleep(0.001)
        print(signals.late(), flush=True)
        time.sleep(0.3)
        print(signals.late(), flush=True)
        signals.leave()
"""
    assert stopped(body, signal.SIGTERM) == ("stopped; go on\n", "False\nTrue\n", 143)


@pytest.mark.parametrize(("late", "saved"), [(False, 1), (True, 0)])
def test_an_epoch_is_saved_where_there_is_time(late, saved, monkeypatch):
    monkeypatch.setattr(signals, "_asked", signal.SIGTERM)
    monkeypatch.setattr(signals, "late", lambda: late)
    calls = []
    checkpoints = SimpleNamespace(save=lambda *arguments: calls.append(arguments))
    part = train.Epoch(1, None, schedule.BEGINNING, whole=False)
    with pytest.raises(signals.Stopped):
        training._follow(Config(), iter([(None, part)]), None, None, None, [], checkpoints)
    assert len(calls) == saved


def test_ctrl_c_while_the_command_is_imported_ends_it(tmp_path):
    swallows = """
import signal
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    raise ImportError from None
"""
    (tmp_path / "tyro.py").write_text(swallows)
    command = [sys.executable, "-m", "wtflow_jax", "--help"]
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")


def test_what_is_ignored_from_the_start_stays_ignored():
    body = """
    import signal
    signal.raise_signal(signal.SIGINT)
"""
    ignoring = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    done = subprocess.run([sys.executable, "-c", ignoring + START + body + END], check=False)
    assert done.returncode == 0
    for path in ("-m wtflow_jax --help", f"{ROOT}/experiments/mvtec.py --help"):
        shell = f"trap '' INT; exec {sys.executable} {path}"
        running = subprocess.Popen(["sh", "-c", shell], stdout=subprocess.PIPE)
        time.sleep(0.3)
        running.send_signal(signal.SIGINT)
        assert running.communicate()[0]
        assert running.returncode == 0
