"""Metrics of a test set in %, each kind of defect, reasons, and what a threshold does."""

import warnings

import numpy as np
import pytest

from wtflow_jax import metrics
from wtflow_jax.metrics import summary
from wtflow_jax.metrics.threshold import Threshold

SCORES = np.array([0.1, 0.6, 0.2, 0.7, 0.5, 0.9], np.float32)
LABELS = np.array([False, False, False, True, True, True])
KINDS = ["good", "good", "good", "dent", "hole", "hole"]


def test_images_and_each_kind_of_defect():
    found = summary.of_images(SCORES, LABELS, KINDS)
    assert found["image_auroc"] == pytest.approx(100 * 8 / 9)
    assert found["image_auroc dent"] == 100
    assert found["image_auroc hole"] == pytest.approx(100 * 5 / 6)


def test_images_of_one_class_have_no_metrics():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = summary.of_images(SCORES, np.zeros(6, bool), ["good"] * 6)
    assert found == dict.fromkeys(["image_auroc", "image_ap", "image_f1"])


def test_pixels_that_are_not_known_have_no_metrics():
    maps = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    masks = maps > 0.5
    known, unknown = (metrics.measure("pixel", maps, given) for given in (masks, None))
    assert known["pixel_auroc"] == 1
    assert unknown == dict.fromkeys(known)


def test_each_reason_once():
    labels = np.zeros(3, bool)
    with summary.reasons() as undefined:
        for _ in range(2):
            metrics.auroc(np.ones(3), labels)
        metrics.measure("image", np.ones(3), labels)
        warnings.warn("of something else", UserWarning, stacklevel=1)
    reason = "is undefined: 3 good and 0 defective"
    each = ("AUROC", "image AUROC", "image AP", "image F1-max")
    assert undefined == [f"{name} {reason}" for name in each]


def test_what_a_threshold_does():
    found = summary.decided(Threshold(0.55, 0.05), 19, SCORES, LABELS)
    assert found["false_alarms"] == pytest.approx(100 / 3)
    assert found["detected"] == pytest.approx(200 / 3)
    assert (found["threshold"], found["promised"], found["images"]) == (0.55, 5, 19)
    none = summary.decided(Threshold(0.55, 0.05), 19, SCORES[:3], LABELS[:3])
    assert none["detected"] is None
