"""A changed camera is reported in one line; defective parts are not mistaken for it."""

import io
import itertools
import warnings
from typing import NamedTuple

import numpy as np
import pytest
import trees
from PIL import Image, ImageFilter

from wtflow_jax.data import framing
from wtflow_jax.data.framing import Framing
from wtflow_jax.data.look import Look
from wtflow_jax.detector import drift
from wtflow_jax.support.errors import WTFlowWarning


class Found(NamedTuple):
    look: Look | None
    defective: bool | None = False


def photograph(seed, defect=False):
    """A part on a table; light and place differ a little from image to image."""
    rng = np.random.default_rng(seed)
    image = Image.fromarray(trees.noisy(seed, defect, 120, 160)).filter(ImageFilter.GaussianBlur(1))
    pixels = np.asarray(image).astype(float) * rng.normal(0.8, 0.008)
    pixels[40:80, 30 + rng.integers(20) :][:, :50] *= 0.3
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def taken(image):
    return framing.frame(image, Framing((96, 128))).look


def saved(image, quality):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


@pytest.fixture(scope="module")
def usual():
    return drift.usual([taken(photograph(i)) for i in range(40)])


def said(looks, usual, defective=0):
    return drift.judged(looks, defective, usual)


CHANGES = {
    "of less contrast": (lambda image: image.point(lambda v: 102 + 0.6 * (v - 102)), ["paler"]),
    "20 % darker": (lambda image: image.point(lambda v: 0.8 * v), ["darker (brightness"]),
    "20 % brighter": (lambda image: image.point(lambda v: 1.2 * v), ["brighter (brightness"]),
    "grey": (lambda image: image.convert("L").convert("RGB"), ["greyer (colour 0 %"]),
    "BGR": (lambda image: Image.merge("RGB", image.split()[::-1]), ["less red", "bluer"]),
    "half as large": (lambda image: image.resize((80, 60)), ["smaller (4,800 pixels, was 19,200)"]),
    "twice as large": (lambda image: image.resize((320, 240)), ["larger (76,800 pixels"]),
    "blurred": (lambda image: image.filter(ImageFilter.GaussianBlur(2)), ["less sharp"]),
    "of another shape": (lambda image: image.crop((0, 0, 120, 120)), ["taller (height over width"]),
    "turned": (lambda image: image.transpose(Image.Transpose.ROTATE_90), ["taller (height"]),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("count", [1, 5, 20])
def test_what_has_changed_is_said(name, count, usual):
    change, words = CHANGES[name]
    line = said([taken(change(photograph(100 + i))) for i in range(count)], usual, 1)
    assert line is not None
    assert all(word in line for word in words)
    which = "the image is" if count == 1 else f"the last {count} images are"
    assert line.startswith(f"{which} unlike those the model was fitted on: ")
    assert line.endswith(f"(1 of {count} called defective): fit again")
    assert ("unless the part itself is unusual" in line) == (count == 1)
    assert "\n" not in line


def test_nothing_is_said_of_new_parts_good_or_defective(usual):
    good = [taken(photograph(100 + i)) for i in range(20)]
    bad = [taken(photograph(200 + i, defect=True)) for i in range(20)]
    for looks in (good, good[:1], bad[:5] + good[:5], [taken(saved(photograph(300), 90))]):
        assert said(looks, usual) is None


def test_a_grey_image_among_slightly_coloured_ones_and_the_reverse():
    def toned(colour, level=100.0):
        return Look(level, 33.3, 33.4, colour, 30, 60, 4800, 0.75)

    grey, tinted = drift.usual([toned(0.0)] * 9), drift.usual([toned(5 + i / 9) for i in range(9)])
    assert "greyer (colour 0 %, was 5 to 6)" in said([toned(0.0)], tinted)
    assert "more coloured (colour 20 %, was 0)" in said([toned(20.0)], grey)
    # Compressed grey images are no longer exactly grey.
    assert said([toned(0.3)], grey) is said([toned(0.0)], drift.usual([toned(0.3)] * 9)) is None


def test_a_few_strange_good_images_do_not_hide_a_change(usual):
    looks = [taken(photograph(i)) for i in range(100)]
    black = [taken(Image.new("RGB", (160, 120)))] * 2
    dark = [taken(photograph(200).point(lambda v: 0.8 * v))]
    assert said(dark, drift.usual([*looks, *black])) is not None


def test_it_takes_more_than_half_of_the_images(usual):
    good, black = taken(photograph(100)), taken(Image.new("RGB", (160, 120)))
    white = taken(Image.new("RGB", (160, 120), "white"))
    for other, word in ((black, "darker (brightness 0, was"), (white, "brighter (brightness 255")):
        assert said([good] * 5 + [other] * 5, usual) is None
        assert word in said([good] * 5 + [other] * 6, usual)


def test_nothing_is_known_of_a_measure_that_is_not_there(usual):
    dark = [taken(photograph(100).point(lambda v: 0.8 * v))]
    assert said(dark, usual) is not None
    assert said(dark, {}) is None


def warned(results, usual):
    """The results, and the warnings after each."""
    with warnings.catch_warnings(record=True, action="always") as caught:
        found = list(drift.watched(results, usual))
    assert all(issubclass(one.category, WTFlowWarning) for one in caught)
    return found, [str(one.message) for one in caught]


def test_results_pass_and_one_line_follows(usual):
    good, dark = taken(photograph(100)), taken(photograph(100).point(lambda v: 0.8 * v))
    lost = Found(None, None)
    assert warned([], usual) == ([], [])
    assert warned([lost], usual) == ([lost], [])
    results = [Found(good), lost, *[Found(dark, True)] * 3]
    found, (line,) = warned(results, usual)
    assert found == results
    assert "the last 4 images are" in line
    assert "darker" in line
    assert "(3 of 4 called defective)" in line
    assert warned([Found(good)] * 3 + [Found(dark)] * 2, usual)[1] == []


def test_a_camera_that_changes_on_the_way_is_said_once(usual):
    good, dark = taken(photograph(100)), taken(photograph(100).point(lambda v: 0.8 * v))
    results = [*[Found(good)] * 900, *[Found(dark)] * 60]
    assert "darker" in warned(results, usual)[1][0]
    assert len(warned([Found(dark)] * 900, usual)[1]) == 1
    # Also for an endless stream, after at most 100 images.
    endless = drift.watched(itertools.repeat(Found(dark)), usual)
    assert [len(line) > 0 for line in warned(itertools.islice(endless, 101), {})[1]] == [True]


def test_nearly_all_defective_is_said_where_nothing_else_is(usual):
    good = taken(photograph(100))
    assert warned([Found(good, True)] * 19, usual)[1] == []
    for defective, known in ((150, 0), (90, 10)):
        results = [*[Found(good, True)] * defective, *[Found(good)] * known]
        (line,) = warned(results, usual)[1]
        images = defective + known
        assert line.startswith(f"{defective} of {images} images are called defective: if many of")
    assert warned([*[Found(good, True)] * 89, *[Found(good)] * 11], usual)[1] == []


def test_images_that_come_one_a_call_are_judged_together(usual):
    """Ten percent less light is too little to report for one image."""
    dark = [taken(photograph(i).point(lambda v: 0.85 * v)) for i in range(100, 112)]
    assert all(said([look], usual) is None for look in dark)
    calls = drift.Watch(drift.OFTEN)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for look in dark[:9]:
            calls.see(Found(look), usual)
        calls.see(Found(None), usual)
    with pytest.warns(WTFlowWarning, match="the last 10 images are unlike .*: darker"):
        calls.see(Found(dark[9]), usual)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for look in 10 * dark:
            calls.see(Found(look), usual)
    good = drift.Watch(drift.OFTEN)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for i in range(200, 240):
            good.see(Found(taken(photograph(i))), usual)
