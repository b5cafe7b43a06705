"""Stop signals: an exception, or a flag that a loop checks."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from wtflow_jax.support import console, signals

ROOT = Path(__file__).parents[2]


def heard(work):
    """The status of a command that does some work."""
    return console.status(lambda: work() or 0)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_command(number, status):
    def work():
        signal.raise_signal(number)
        raise AssertionError("is not reached")

    before = [signal.getsignal(each) for each in signals.HEARD]
    assert heard(work) == status
    # What was before is again.
    assert [signal.getsignal(each) for each in signals.HEARD] == before
    assert not signals.asked()


def test_a_deferred_signal_is_a_flag_until_it_is_left():
    done = []

    def work():
        with signals.deferred():
            signals.leave()
            signal.raise_signal(signal.SIGTERM)
            assert signals.asked()
            done.append("saved")
            signals.leave()
        raise AssertionError("is not reached")

    assert heard(work) == 143
    assert done == ["saved"]


def test_a_signal_that_is_not_deferred_is_raised():
    def work():
        with signals.deferred(False):
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("is not reached")

    assert heard(work) == 130


def test_a_signal_during_garbage_collection_is_not_lost():
    class Held:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)

    def work():
        Held()
        time.sleep(60)
        raise AssertionError("is not reached")

    assert heard(work) == 143


def test_the_second_signal_is_the_system_s():
    def work():
        with signals.deferred():
            signal.raise_signal(signal.SIGINT)
            assert all(signal.getsignal(each) == signal.SIG_DFL for each in signals.HEARD)
            signals.leave()

    assert heard(work) == 130


def test_other_threads_hear_nothing():
    found = []
    thread = threading.Thread(target=lambda: found.append(heard(lambda: None)))
    thread.start()
    thread.join()
    assert found == [0]


STUBBORN = """
import sys, time
from wtflow_jax.support import console, signals

def work():
    with signals.deferred():
        print("ready", flush=True)
        while True:
            time.sleep(0.01)
            if signals.asked():
                print("asked", flush=True)

sys.exit(console.status(work))
"""


@pytest.mark.slow
def test_the_second_signal_ends_the_process_at_once():
    running = subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, text=True)
    assert running.stdout.readline() == "ready\n"
    running.send_signal(signal.SIGINT)
    assert running.stdout.readline() == "asked\n"
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=60)
    assert running.returncode == -signal.SIGTERM


@pytest.mark.slow
@pytest.mark.parametrize("command", ["-m wtflow_jax --help", f"{ROOT}/experiments/mvtec.py --help"])
def test_what_is_ignored_from_the_start_stays_ignored(command):
    """As a shell has its background jobs ignore Ctrl-C."""
    shell = f"trap '' INT; exec {sys.executable} {command}"
    running = subprocess.Popen(["sh", "-c", shell], stdout=subprocess.PIPE)
    time.sleep(0.3)
    running.send_signal(signal.SIGINT)
    assert running.communicate()[0]
    assert running.returncode == 0
