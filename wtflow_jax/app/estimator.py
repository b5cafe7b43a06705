"""WT-Flow as a scikit-learn outlier detector: in pipelines, and in model selection."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, no_type_check

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from wtflow_jax import backbones
from wtflow_jax.app import fit, groups
from wtflow_jax.backbones import features
from wtflow_jax.data.images import MULTIPLE
from wtflow_jax.detector import detector, route
from wtflow_jax.detector.config import configure
from wtflow_jax.flow import scores
from wtflow_jax.metrics.threshold import threshold
from wtflow_jax.support.environment import CACHE

LOST = 0.01
"""Largest error of rounding to float32, as a share of a column's standard deviation."""

_load = lru_cache(maxsize=1)(backbones.load)


def _rounded(X: np.ndarray, fits: bool) -> np.ndarray:
    """Return X as float32; ValueError if that overflows, or if training data lose their variation.

    ``fits`` says whether X is training data.
    """
    with np.errstate(over="ignore"):
        rounded = X.astype(np.float32, copy=False)
    if not np.isfinite(rounded).all():
        raise ValueError(f"X has values up to {np.abs(X).max():.3g}, too large for float32")
    if fits:
        samples = tuple(range(X.ndim - 1))
        # float32 input was rounded before: its error is estimated from the spacing of float32.
        steps = np.spacing(np.abs(rounded).max(axis=samples)) / np.sqrt(12)
        lost = np.maximum(np.std(X - rounded, axis=samples), steps)
        spread = np.std(X, axis=samples, dtype=np.float64)
        varies = X.min(axis=samples) < X.max(axis=samples)
        if len(X) > 1 and not varies.any():
            raise ValueError(f"X has {len(X)} samples that are all the same")
        if (coarse := varies & (lost > LOST * spread)).any():
            column = int(np.argmax(coarse))
            raise ValueError(
                f"X[..., {column}] has values about {np.mean(X[..., column]):.3g} that differ by "
                f"about {spread[column]:.3g}, which float32 cannot resolve: subtract their mean "
                "first, as sklearn.preprocessing.StandardScaler does"
            )
    return rounded


# __init__ takes any value: by scikit-learn's convention fit checks parameters.
@no_type_check
@dataclass(kw_only=True, eq=False, repr=False)
class WTFlow(OutlierMixin, BaseEstimator):
    """Outliers by time-reversed flow matching from data to noise (arXiv 2508.05461v2).

    Input X is one of:

    - (n, c) numbers: n samples, each a feature map of one cell;
    - (n, h, w, c) floating point: feature maps;
    - (n, H, W, 3) uint8: RGB images, H and W multiples of 32 (transformers: 14 or 16);
      ``backbone`` computes their features.

    ``fit`` takes normal samples only. It scores each sample by a model fitted without it; these
    scores set ``offset_``. Parameters that are not described here are flags of ``configure``.

    Attributes:
        offset_: outliers have ``score_samples`` below it.
        rate_: expected share of normal samples called outliers.
        shape_: shape of a sample's feature map, (h, w, c).
        n_features_in_: ``X.shape[1]``.
    """

    false_alarms: float = 0.01
    """Share of normal samples that may be called outliers; n samples certify 1/(n + 1) at best."""
    wt: str = "whiten"
    velocity: str = "exact"
    alpha: float = 0.1
    rank: int = 64
    patches: int = 12_000
    width: int | None = None
    """Width of a network; None takes the default of ``velocity``, for ``epochs`` too."""
    epochs: int | None = None
    learning_rate: float = 3e-3
    backbone: str = "efficientnet_lite0"
    layer: tuple[str, ...] = ()
    weights: str | None = None
    """File of the backbone's weights; None takes the published weights."""
    random_state: int | np.random.RandomState | None = None
    """Seed, or a generator that draws one."""

    def fit(self, X: Any, y: Any = None) -> "WTFlow":
        """Fit on normal samples X (see the class); y is ignored.

        Raises:
            ValueError: X has an invalid shape or invalid values.
            WTFlowError: a parameter is out of its range, or too few samples are distinct.
        """
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        asked = {name: value for name, value in self.get_params().items() if value is not None}
        for other in ("weights", "random_state"):
            asked.pop(other, None)
        self.config_ = configure(**asked, seed=seed)
        self.config_.check()
        maps, where = self._maps(X, reset=True)
        self.shape_ = maps.shape[1:]
        digests = tuple(hashlib.sha256(one.tobytes()).hexdigest() for one in maps)
        windows = fit.Windows(maps, np.arange(len(maps)), digests)
        copies = groups.numbered(digests)
        fitted = detector.fit(self.config_, jnp.asarray(maps))
        held_out = fit.cross_fit(windows, copies, fitted, where).scores
        found = threshold(held_out, self.config_.decision.false_alarms)
        # Without functions, so that a fitted estimator can be pickled.
        self.params_, self.stats_ = fitted.params, fitted.stats
        self.offset_, self.rate_ = -found.value, found.rate
        return self

    def score_samples(self, X: Any) -> Float[np.ndarray, " n"]:
        """Return minus the score of Algorithm 1: higher is more normal."""
        return -self._predict(X).scores.astype(np.float64)

    def anomaly_maps(self, X: Any) -> Float[np.ndarray, "n H W"]:
        """Return anomaly maps: a score per pixel of images, or per cell of feature maps."""
        return self._predict(X).maps

    def decision_function(self, X: Any) -> Float[np.ndarray, " n"]:
        """Return ``score_samples`` minus ``offset_``: negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> Int[np.ndarray, " n"]:
        """Return 1 for normal samples and −1 for outliers."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def _predict(self, X: Any) -> route.Prediction:
        check_is_fitted(self)
        maps, where = self._maps(X, reset=False)
        if maps.shape[1:] != self.shape_:
            raise ValueError(f"X has samples of shape {maps.shape[1:]}, fit saw {self.shape_}")
        fitted = detector.Detector(self.config_, self.params_, self.stats_)
        return route.predict(fitted, maps, where)

    def _maps(self, X: Any, reset: bool) -> tuple[Float[np.ndarray, "n h w c"], scores.Upsampling]:
        """Return X as feature maps, and the position of their cells."""
        is_image = getattr(X, "dtype", None) == np.uint8 and getattr(X, "ndim", 0) == 4
        # Other dtypes are converted to the first of these.
        kind = np.uint8 if is_image else (np.float64, np.float32)
        least = fit.LEAST if reset else 1
        options = {"reset": reset, "allow_nd": True, "dtype": kind, "ensure_min_samples": least}
        # scikit-learn has no type annotations.
        array: Any = validate_data(self, X, **options)
        if is_image:
            _, height, width, channels = array.shape
            multiple = backbones.BACKBONES.make(self.backbone).multiple
            if channels != 3 or height % multiple or width % multiple:
                raise ValueError(
                    f"X has uint8 images of {height}x{width}x{channels}; give RGB, sides "
                    f"multiples of {multiple}"
                )
            layer = tuple(self.layer)
            backbone = _load(self.backbone, layer=layer, weights=self.weights, cache=CACHE)
            named = ((Path(f"X[{i}]"), image) for i, image in enumerate(array))
            batches = features.batched(backbone, named, self.config_.features.dense)
            where = route.upsampling(backbone, self.config_, (height, width))
            return np.concatenate(list(batches)), where
        if array.ndim not in (2, 4):
            raise ValueError(f"X has {array.ndim} axes; give (n, c), (n, h, w, c) or uint8 images")
        if array.ndim == 4 and array.shape[-1] == 3 and min(array.shape[1:3]) >= MULTIPLE:
            # Treated as feature maps they would take hours.
            raise ValueError("X has floating-point images; give them as uint8, 0 to 255")
        array = _rounded(array, fits=reset)
        maps = array if array.ndim == 4 else array[:, None, None, :]
        cells_alone = (np.eye(side, dtype=np.float32) for side in maps.shape[1:3])
        return maps, scores.Upsampling(*cells_alone)
