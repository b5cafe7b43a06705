"""Killed and resumed runs: nothing is lost, numbers equal an uninterrupted run."""

import signal

import pytest
import trees

import kills
from kills import ROOT, Moment

pytestmark = pytest.mark.long

MVTEC = ROOT / "experiments" / "mvtec.py", "--smoke", "--velocity", "patch", "--epochs", 300
PLACES = "--out", "out", "--models", "models", "--cache", "cache"
MVTEC = *MVTEC, "--validation", 0.25, *PLACES, "--resume"
MOMENTS = {
    "features": (Moment("features", "cache/features/*.part"), signal.SIGKILL),
    "first epoch": (Moment("first step", "models/*/.lock", 1.5), signal.SIGINT),
    "checkpoint": (Moment("checkpoint", "models/*/checkpoint/*tmp*"), signal.SIGKILL),
    "cells": (Moment("cells", "models/*/cells/*.npz"), signal.SIGTERM),
    "results": (Moment("results", "out/texture/*"), signal.SIGKILL),
}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """An uninterrupted experiment, and its compiled programs."""
    place = tmp_path_factory.mktemp("whole")
    kills.finish(MVTEC, place, place / "compiled")
    return place, kills.trained(place)


def test_an_experiment_killed_again_and_again(uninterrupted, tmp_path):
    whole, expected = uninterrupted
    for name, (moment, number) in MOMENTS.items():
        death = kills.kill(MVTEC, tmp_path, moment, number, whole / "compiled")
        assert death.hit, f"{name}: {death.stderr}"
        assert "Traceback" not in death.stderr, f"{name}: {death.stderr}"
        if number != signal.SIGKILL:
            assert death.stderr.endswith("stopped; --resume goes on where it stopped\n"), name
    kills.finish(MVTEC, tmp_path, whole / "compiled")
    assert kills.trained(tmp_path) == expected
    assert kills.left(tmp_path) == []


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    place = tmp_path_factory.mktemp("images")
    for i in range(6):
        trees.write(place / "good" / f"{i}.png", trees.noisy(i))
    for i in range(400):
        trees.write(place / "new" / f"{i:03d}.png", trees.noisy(i, defect=i % 3 == 0))
    fit = "-m", "wtflow_jax", "fit", place / "good", "--out", "model", "--image-size", 64
    kills.finish(fit, place)
    return place


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_predicting_killed(images, tmp_path, number):
    command = "-m", "wtflow_jax", "predict", images / "model", images / "new", "--out"
    if not (images / "whole").exists():
        kills.finish((*command, images / "whole"), images)
    moment = Moment("a map", "found/maps/**/*.png", 0.1)
    death = kills.kill((*command, "found"), tmp_path, moment, number)
    assert death.hit
    assert "Traceback" not in death.stderr
    if number == signal.SIGTERM:
        assert death.stderr.endswith("stopped; --resume goes on where it stopped\n")
    kills.finish((*command, "found", "--resume"), tmp_path)
    whole = kills.predicted(images / "whole")
    assert kills.alike(kills.predicted(tmp_path / "found"), whole)
    other = [{**row, "score": 1.1 * row["score"]} for row in whole["rows"]]
    assert not kills.alike({**whole, "rows": other}, whole)


def test_a_model_whose_fitting_is_killed_stays_as_it_was(images, tmp_path):
    fit = "-m", "wtflow_jax", "fit", images / "good", "--image-size", 64, "--out", "model"
    kills.finish(fit, tmp_path)
    before = kills.files(tmp_path / "model")
    other = *fit, "--seed", 1, "--velocity", "unet"
    death = kills.kill(other, tmp_path, Moment("fit", "model/.lock", 3.0), signal.SIGTERM)
    assert death.hit
    assert death.stderr.endswith("stopped\n")
    assert kills.files(tmp_path / "model") == before
    assert kills.left(tmp_path) == []
