"""What --help does where it cannot be written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "script", [("-m", "wtflow_jax"), ("experiments/all.py",), ("experiments/sweep.py",)]
)
@pytest.mark.parametrize("reader", ["gone", "full"])
def test_help_that_cannot_be_written(script, reader):
    if reader == "full":
        writing, told = os.open("/dev/full", os.O_WRONLY), "error: No space left on device\n"
    else:
        reading, writing = os.pipe()
        os.close(reading)
        told = ""
    command = [sys.executable, *script, "--help"]
    ended = subprocess.run(
        command, stdout=writing, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (1, told)
