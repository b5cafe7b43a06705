"""Metrics of a test set in %, reasons for undefined ones, and error rates of a threshold."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from wtflow_jax.metrics.ranking import METRICS, UndefinedMetric, auroc, measure
from wtflow_jax.metrics.threshold import Threshold

Figures = dict[str, float | None]
"""Metrics in % by name; None where they are undefined."""


def titles() -> dict[str, str]:
    """Return the printed titles of the metrics, by name."""
    return {name: metric.title for name, metric in METRICS.items()}


def percent(value: float | None) -> float | None:
    """Return a share in %; None stays None."""
    return None if value is None else 100 * value


def mean(values: np.ndarray) -> float | None:
    """Return the mean; None for an empty array."""
    return float(values.mean()) if len(values) else None


def of_images(
    scores: Float[np.ndarray, " n"], labels: Bool[np.ndarray, " n"], kinds: Sequence[str]
) -> Figures:
    """Return all metrics of image scores, and the AUROC of each kind of defect."""
    # A missing class is reported once, with the test images.
    both = 0 < labels.sum() < len(labels)
    shares = measure("image", scores, labels if both else None)
    for kind in sorted({kind for kind, bad in zip(kinds, labels, strict=True) if bad}):
        of_kind = np.array([k == kind for k in kinds])
        some = ~labels | of_kind
        shares[f"image_auroc {kind}"] = auroc(scores[some], of_kind[some])
    return {name: percent(share) for name, share in shares.items()}


@contextmanager
def reasons() -> Iterator[list[str]]:
    """Collect the reasons for undefined or doubtful metrics, each once, in place of warnings."""
    found: list[str] = []
    with warnings.catch_warnings(record=True, action="always", category=UndefinedMetric) as caught:
        yield found
    undefined = [w for w in caught if issubclass(w.category, UndefinedMetric)]
    found += dict.fromkeys(str(w.message) for w in undefined)


def decided(
    threshold: Threshold,
    held_out: int,
    scores: Float[np.ndarray, " n"],
    labels: Bool[np.ndarray, " n"],
) -> dict[str, Any]:
    """Return a threshold and its rates on test images in %; ``held_out`` good images set it."""
    above = scores > threshold.value
    return {
        "threshold": threshold.value,
        "promised": percent(threshold.rate),
        "images": held_out,
        "false_alarms": percent(mean(above[~labels])),
        "detected": percent(mean(above[labels])),
    }
