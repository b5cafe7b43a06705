"""From good images to a model: scores of images left out, the threshold, windows and memory."""

import warnings
from collections import Counter

import jax.numpy as jnp
import numpy as np
import pytest
import trees
import vits
from raising import fails
from threadpoolctl import threadpool_info

from wtflow_jax import backbones
from wtflow_jax.app import fit, groups
from wtflow_jax.backbones import features
from wtflow_jax.data.framing import Framing
from wtflow_jax.data.images import read_image
from wtflow_jax.data.light import factors, lit
from wtflow_jax.detector import detector, model, route
from wtflow_jax.detector.config import configure
from wtflow_jax.flow import scores
from wtflow_jax.metrics.threshold import threshold
from wtflow_jax.support.errors import WTFlowWarning

CONFIG = configure(velocity="exact", wt="layer_norm")
WHERE = scores.Upsampling(np.eye(2, dtype=np.float32), np.eye(3, dtype=np.float32))


def windows(owner, digests):
    """Random features of the windows of some images; copies have the same."""
    known = {
        digest: np.random.default_rng(i).normal(size=(owner.count(digests.index(digest)), 2, 3, 4))
        for i, digest in enumerate(dict.fromkeys(digests))
    }
    maps = np.concatenate([known[digest] for digest in digests]).astype(np.float32)
    return fit.Windows(maps, np.array(owner), tuple(digests))


def scored(good, maps):
    """Score maps by a model fitted on other maps."""
    return route.predict(detector.fit(CONFIG, jnp.asarray(good)), maps, WHERE).scores


def whole(given, config=CONFIG):
    """A model fitted on all images."""
    return detector.fit(config, jnp.asarray(given.maps))


def crossed(given, kept=None):
    """Cross-fitted scores: each image's model has seen neither it nor a copy."""
    return fit.cross_fit(given, groups.numbered(given.digests), whole(given), WHERE, kept)


@pytest.fixture
def fitted_on(monkeypatch):
    """Record the features of each model that is fitted."""
    noted, original = [], detector.fit

    def noting(config, features, like=None):
        if like is not None:
            noted.append(np.asarray(features))
        return original(config, features, like)

    monkeypatch.setattr(detector, "fit", noting)
    return noted


def test_each_image_is_scored_by_a_model_of_the_others(fitted_on):
    given = windows([*range(7)], [*"abcdefg"])
    found = crossed(given)
    models = [*fitted_on]
    assert len(models) == fit.FOLDS
    left_out = Counter()
    for maps in models:
        held = [i for i in range(7) if not (given.maps[i] == maps).all(axis=(1, 2, 3)).any()]
        left_out.update(held)
        wanted = scored(maps, given.maps[held])
        np.testing.assert_allclose(found.scores[held], wanted, rtol=1e-6)
    assert left_out == dict.fromkeys(range(7), 1)
    assert found.of.tolist() == [*range(7)]


def test_copies_are_left_out_together_and_count_once(fitted_on):
    given = windows([*range(6)], [*"abacab"])
    found = crossed(given)
    # Three different images: three parts.
    assert sorted(len(maps) for maps in fitted_on) == [3, 4, 5]
    assert len(found.scores) == len(found.of) == 3
    assert sorted(given.digests[i] for i in found.of) == [*"abc"]
    with fails("3 good images show 2 parts", "of at least 3"):
        crossed(windows([0, 1, 2], [*"aba"]))


def test_images_of_a_part_are_left_out_together_and_the_highest_counts(fitted_on):
    given, labels = windows([*range(8)], [*"abcdefgh"]), np.array([0, 1, 0, 2, 3, 0, 1, 4])
    found = fit.cross_fit(given, labels, whole(given), WHERE)
    for maps in [*fitted_on]:
        held = [i for i in range(8) if not (given.maps[i] == maps).all(axis=(1, 2, 3)).any()]
        # A part is entirely in a model or entirely held out.
        assert not set(labels[held]) & set(np.delete(labels, held))
        wanted = scored(maps, given.maps[held])
        for part in set(labels[held]):
            own = [(score, i) for score, i in zip(wanted, held, strict=True) if labels[i] == part]
            score, image = max(own)
            assert found.scores[part] == pytest.approx(score, rel=1e-6)
            assert found.of[part] == image


def test_models_are_fitted_on_what_is_kept_and_score_all(fitted_on):
    given, kept = windows([*range(9)], [*"abcdefghi"]), np.arange(9) % 4 > 0
    found = crossed(given, kept)
    assert np.isfinite(found.scores).all()
    for maps in fitted_on:
        assert len(maps) >= kept.sum() - 2
        assert not any((given.maps[i] == maps).all(axis=(1, 2, 3)).any() for i in (0, 4, 8))


def test_of_several_windows_the_highest_is_the_images():
    given = windows([0, 0, 1, 2, 2, 2, 3], [*"abcd"])
    found = crossed(given)
    for image in range(4):
        own = given.owner == image
        wanted = scored(given.maps[~own], given.maps[own]).max()
        assert found.scores[image] == pytest.approx(wanted, rel=1e-6)


def test_held_out_scores_leave_the_threads_of_lapack_as_they_were():
    def threads():
        return [lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"]

    given, config = windows([*range(9)], [*"abcdefghi"]), configure(velocity="none", wt="whiten")
    model = whole(given, config)
    before = threads()
    fit.cross_fit(given, np.arange(9), model, WHERE)
    assert threads() == before


def test_a_threshold_is_that_of_the_images_left_out(tmp_path):
    good = [trees.write(tmp_path / f"{i}.png", trees.noisy(i)) for i in range(4)]
    model = fit.fit(good, image_size="64", false_alarms=0.3)
    held_out = np.array(model.training["held_out"])
    assert model.threshold == threshold(held_out, 0.3)
    assert model.threshold.rate == pytest.approx(0.2)
    assert model.training["images"] == len(set(model.training["seen"])) == 4
    # The threshold is the middle of the colours.
    assert np.mean(model.colours) == pytest.approx(model.threshold.value)
    # All images of the fit itself are below the threshold.
    assert not any(result.defective for result in model.predict(good))


@pytest.mark.long
def test_the_seed_decides_what_is_left_out_together(tmp_path):
    images = [trees.noisy(i) for i in range(7)]
    one, same, other = (fit.fit(images, image_size="32", seed=seed) for seed in (0, 0, 1))
    assert one.training == same.training
    assert one.training["held_out"] != other.training["held_out"]
    assert one.training["fingerprint"] == other.training["fingerprint"]


@pytest.mark.parametrize(
    ("asked", "overlap", "size"),
    [
        ("64", None, (96, 32)),
        ("64x128", None, (64, 128)),
        ("64", 16, (64, 64)),
        ("32x64", 16, (32, 64)),
    ],
)
def test_windows_have_the_median_aspect_or_what_is_asked_for(asked, overlap, size, tmp_path):
    shapes = [(90, 30), (96, 32), (30, 300), (90, 30)]
    files = [trees.write(tmp_path / f"{i}.png", trees.picture(i, *s)) for i, s in enumerate(shapes)]
    config = configure(velocity="exact", image_size=asked)
    framing = fit._framing(config, files, overlap)
    assert (framing.size, framing.overlap) == (size, overlap)
    with fails("--overlap 64: give at least 0 and less than"):
        fit._framing(config, files, 64)


def test_features_are_those_of_the_backbone_in_the_order_of_the_images(small_model, tmp_path):
    from wtflow_jax.detector.model import load

    model = load(small_model)
    paths = sorted((small_model.parent / "good").iterdir())
    given = fit.take(paths, model.backbone, model.framing, dense=False)
    images = np.stack([read_image(path, (64, 64)) for path in paths])
    named = zip(paths, images, strict=True)
    wanted = np.concatenate(list(features.batched(model.backbone, named, False)))
    np.testing.assert_array_equal(given.maps, wanted)
    assert given.owner.tolist() == [0, 1, 2, 3]
    assert sorted(given.digests) == model.training["seen"]


@pytest.mark.slow
def test_flags_are_those_of_what_is_chosen_and_a_cache_may_be_text(tmp_path):
    images = [trees.noisy(i) for i in range(3)]
    for asked, said in (
        ({"width": 8}, "--width: is an option of patch, unet, which is not run; choose it, or"),
        ({"wt": "none", "alpha": 0.2}, "--alpha: is an option of whiten, which is not run"),
    ):
        with fails(said):
            fit.fit(images, image_size="32", **asked)
    model = fit.fit(images, image_size="32", alpha=0.2, cache=str(tmp_path))
    assert model.config.wt.wt.wt.alpha == 0.2


def test_more_features_than_memory_are_refused_at_the_first_batch(tmp_path, monkeypatch):
    images = [trees.noisy(i) for i in range(3)]
    monkeypatch.setattr(fit, "memory", lambda: 2**10)
    with fails(r"3 images have about 0\.0 GiB of features", "give fewer images"):
        fit.fit(images, image_size="32")


@pytest.mark.slow
# With seed 2 each defect is in the other's model in every round, so both pass as good.
@pytest.mark.parametrize("seed", [0, 1, 3])
def test_defects_that_are_alike_are_left_out_together(seed):
    """A defect hides while a similar one is in its model; both must be left out."""
    rng = np.random.default_rng(seed)
    good, bad = rng.normal(size=(2, 1, 2, 3, 4))
    maps = np.concatenate([np.repeat(good, 18, axis=0), np.repeat(bad, 2, axis=0)])
    maps = (maps + 0.05 * rng.normal(size=maps.shape)).astype(np.float32)
    given = fit.Windows(maps, np.arange(20), tuple(map(str, range(20))))
    config = configure(velocity="exact", wt="layer_norm", seed=seed)
    model = whole(given, config)
    held_out, kept = fit.trimmed(given, np.arange(20), model, WHERE, 0.1)
    assert np.nonzero(~kept)[0].tolist() == [18, 19]
    # Kept images are scored by models of other kept images.
    alone = fit.Windows(maps[:18], np.arange(18), given.digests[:18])
    wanted = fit.cross_fit(alone, np.arange(18), model, WHERE).scores
    np.testing.assert_allclose(held_out.scores[:18], wanted, rtol=1e-6)
    assert held_out.scores[18:].min() > wanted.max()
    assert fit.trimmed(given, np.arange(20), model, WHERE, 0)[1].all()


@pytest.mark.long
def test_what_is_left_out_is_in_no_model_and_in_no_threshold():
    images = [trees.noisy(i, defect=i == 3) for i in range(11)]
    model = fit.fit(images, contamination=0.2, image_size="64", false_alarms=0.15)
    training = model.training
    assert len(training["left_out"]) == len(training["left_out_of"]) == 3
    assert sorted(training["left_out_of"] + training["held_out_of"]) == [*range(11)]
    assert training["images"] == len(training["seen"]) == len(training["held_out"]) == 8
    assert model.threshold == threshold(np.array(training["held_out"]), 0.15)
    rest = [images[i] for i in sorted(training["held_out_of"])]
    assert training["fingerprint"] == fit.fit(rest, image_size="64").training["fingerprint"]
    for share in (-0.1, 0.6, float("nan")):
        with fails(f"--contamination {share}: give at least 0 and at most 0.5"):
            fit.fit(images, contamination=share)
    with fails("4 good images show 2 parts", "images left out"):
        fit.fit(images[:4], contamination=0.5, image_size="64")


def taken(part, rng):
    """A photograph of a part, with noise of a level."""
    pixels = trees.noisy(part).astype(int) + rng.integers(-1, 2, (64, 64, 3))
    return np.clip(pixels, 0, 255).astype(np.uint8)


@pytest.mark.slow
def test_few_parts_of_many_photographs_are_asked_after():
    rng = np.random.default_rng(0)
    images = [taken(part, rng) for part in range(3) for _ in range(4)]
    with pytest.warns(WTFlowWarning, match="images of 3 groups .* image 1, image 2, .* and 1 more"):
        model = fit.fit(images, image_size="64")
    assert len(model.training["held_out"]) == 12
    with warnings.catch_warnings():
        warnings.simplefilter("error", WTFlowWarning)
        for group, parts in (("none", 12), ([0, 1, 2] * 4, 3)):
            model = fit.fit(images, image_size="64", group=group)
            assert len(model.training["held_out"]) == parts


def test_parts_are_found_named_or_labelled(tmp_path):
    rng, files = np.random.default_rng(0), []
    for part in range(6):
        for take in range(2):
            path = tmp_path / f"{part}" / f"p{part}t{take}.png"
            files.append(trees.write(path, taken(part, rng)))
    labels = [int(path.parent.name) for path in files]
    for group in ("alike", "folder", r"p(\d)", labels, [*map(str, labels)]):
        model = fit.fit(files, group=group, image_size="64")
        assert model.training["groups"] == labels, group
        assert len(model.training["held_out"]) == 6
        assert model.threshold.rate == pytest.approx(1 / 7)
    each = fit.fit(files, group="none", image_size="64")
    assert len(each.training["held_out"]) == 12
    # Models that have seen the part give lower scores.
    assert each.threshold.value < model.threshold.value
    with fails("3 labels for 12 images: give one per image"):
        fit.fit(files, group=[1, 2, 3], image_size="64")
    with fails("12 good images show 1 parts"):
        fit.fit(files, group="p", image_size="64")
    with fails("group: give a word, a regular expression, or one label per image, not None"):
        fit.fit(files, group=[None] * 12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "side", "size"),
    [("dinov2_vits14", "70", (84, 56)), ("dinov3_vits16", "80", (96, 64))],
)
def test_patches_of_a_transformer(name, side, size, monkeypatch, tmp_path):
    """Windows are of whole patches, in the images' aspect, and a patch is a cell."""
    weights = str(vits.tiny(name, monkeypatch, tmp_path))
    images = [trees.noisy(seed, False, 120, 80) for seed in range(10)]
    given = {"backbone": name, "weights": weights}
    with fails(f"image size '71': {name} takes multiples of"):
        fit.fit(images, **given, image_size="71")
    fitted = fit.fit(images, **given, image_size=side)
    assert fitted.framing.size == size
    cells = route.upsampling(fitted.backbone, fitted.config, size)
    patch = fitted.backbone.grids[0].stride
    assert (cells.rows.shape[1], cells.columns.shape[1]) == (size[0] // patch, size[1] // patch)
    fitted.save(tmp_path / "model")
    image = trees.noisy(77, True, 120, 80)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WTFlowWarning)
        found, again = (one.predict(image) for one in (fitted, model.load(tmp_path / "model")))
    assert found.score == again.score > fitted.threshold.value
    assert found.map.shape == size


def test_models_see_some_images_in_other_light_and_score_all_in_their_own(tmp_path):
    paths = [trees.write(tmp_path / f"{i}.png", trees.noisy(i)) for i in range(70)]
    backbone = backbones.load("efficientnet_lite0", cache=tmp_path)
    plain = fit.take(paths, backbone, Framing((64, 64)), dense=False)
    given = fit.take(paths, backbone, Framing((64, 64)), dense=False, jitter=0.15)
    # A batch holds other images: rounding differs.
    np.testing.assert_allclose(given.maps, plain.maps, atol=1e-4)
    assert (given.owner == plain.owner).all()
    assert (given.digests, given.looks) == (plain.digests, plain.looks)
    chosen = np.arange(70) % 3 > 0
    seen = given.training(chosen)
    differs = np.abs(seen - given.maps[chosen]).max(axis=(1, 2, 3)) > 1e-3
    light = factors(70, 0.15)
    np.testing.assert_array_equal(differs, (light != 1)[chosen])
    first = np.flatnonzero(chosen & (light != 1))[0]
    image = lit(read_image(paths[first], (64, 64)), float(light[first]))
    own = features.compute(backbone, image[None])[0]
    np.testing.assert_allclose(seen[np.cumsum(chosen)[first] - 1], own, atol=1e-4)
    np.testing.assert_array_equal(plain.training(chosen), plain.maps[chosen])
