"""Images of one part: by names, by labels, and by how alike they are."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from raising import fails
from scipy import ndimage

from wtflow_jax.app import groups

PAIRS = st.lists(st.tuples(*[st.integers(0, 5)] * 2), min_size=1, max_size=12)


def test_a_directory_or_an_expression_names_the_part():
    files = [Path("a/part1_0.png"), Path("b/part2_0.png"), Path("b/part1_1.png")]
    assert groups.named(files, "folder").tolist() == [0, 1, 1]
    assert groups.named(files, r"part(\d)").tolist() == [0, 1, 0]
    assert groups.named(files, r"_\d").tolist() == [0, 0, 1]
    with fails(r"b/part2_0.png: --group part1 names no part of this path; give"):
        groups.named(files, "part1")
    for wrong in ("(", "a{99999999999999999999}"):
        with fails("--group .*: not a regular expression \\(", "or alike, folder or none"):
            groups.named(files, wrong)
    # The group that names the part is in one of two branches.
    with fails(r"b/part2_0.png: --group part1_\(\.\)\|part names no part of this path"):
        groups.named(files, "part1_(.)|part")


@given(PAIRS)
def test_joined_is_the_finest_that_both_refine(pairs):
    """Against sets that are merged one by one."""
    one, other = (groups.numbered(names) for names in zip(*pairs, strict=True))
    found = groups.joined(one, other)
    sets = [{i} for i in range(len(one))]
    for labels in (one, other):
        for i in range(len(one)):
            for j in range(len(one)):
                if labels[i] == labels[j]:
                    both = sets[i] | sets[j]
                    for k in both:
                        sets[k] = both
    wanted = [min(members) for members in sets]
    np.testing.assert_array_equal(found, groups.numbered(wanted))


def smooth(seed):
    """A picture of a few waves, [72, 72] around 100."""
    rng, (y, x) = np.random.default_rng(seed), np.mgrid[:72, :72] / 72
    waves = (np.sin(7 * (a * x + b * y) + c) for a, b, c in rng.uniform(-3, 3, (12, 3)))
    return 100 + 10 * sum(waves)


def shot(part, take):
    """A part moved by less than a cell, in another light, with noise."""
    rng = np.random.default_rng(1000 * part + take)
    moved = ndimage.shift(smooth(part), rng.uniform(-0.4, 0.4, 2))[4:-4, 4:-4]
    return (rng.uniform(0.9, 1.1) * moved + rng.normal(0, 0.2, moved.shape)).astype(np.float32)


def shots(*each):
    """``each`` shots per part, and the part of each shot."""
    labels = np.repeat(np.arange(len(each)), each)
    return np.stack([shot(part, take) for take, part in enumerate(labels)]), labels


def test_neither_light_nor_a_small_shift_makes_a_distance():
    one, other = smooth(0)[4:-4, 4:-4], smooth(1)[4:-4, 4:-4]
    moved = ndimage.shift(smooth(0), (0.2, -0.3))[4:-4, 4:-4]
    images = np.stack([one, 3 * one - 20, moved, other]).astype(np.float32)
    found = groups.distances(images)
    np.testing.assert_array_equal(found, found.T)
    assert found[0, 1] == pytest.approx(0, abs=2e-3)
    assert found[0, 2] < 0.02 < 0.5 < found[0, 3] <= 1
    # The least of two regressions, by another solver.
    wanted = []
    for a, b in ((one, other), (other, one)):
        a, b = (ndimage.gaussian_filter(image, 1) for image in (a, b))
        down, right = np.gradient(a)
        second = *np.gradient(down), np.gradient(right)[1]
        inside = (
            part[3:-3, 3:-3].ravel() for part in (b, np.ones_like(a), a, down, right, *second)
        )
        y, *basis = inside
        y = y - y.mean()
        (rest,) = np.linalg.lstsq(np.stack(basis, 1), y)[1]
        wanted.append(np.sqrt(rest / (y @ y)))
    # Differences in place of the derivatives of the Gaussian.
    assert found[0, 3] == pytest.approx(min(wanted), rel=0.02)


def test_photographs_of_a_part_are_found_and_others_left_alone():
    for each in ([6] * 10, [1] * 40 + [2, 3], [3] * 5, [1] * 30, [1] * 3):
        images, labels = shots(*each)
        for found in (*groups.alike(images), groups.alike(images / 100).groups):
            # For every exposure.
            np.testing.assert_array_equal(found, labels)


def test_a_range_of_images_is_no_part():
    """A part turned in every direction: distances have no gap."""
    turned = [ndimage.rotate(smooth(0), 9 * i, reshape=False)[14:-14, 14:-14] for i in range(40)]
    assert [len(set(found)) for found in groups.alike(np.stack(turned))] == [40, 40]


def test_few_kinds_of_many_images_are_no_parts():
    """Views or colours: held out together, other images' models would find them anomalous."""
    for each in ([20] * 4, [6] * 5, [15, 15], [1] * 20 + [10], [1] * 20 + [5]):
        images, labels = shots(*each)
        found = groups.alike(images)
        assert len(set(found.groups)) == len(images)
        # They may be parts, so they are reported as doubtful.
        np.testing.assert_array_equal(found.doubted, labels)


@pytest.mark.parametrize("each", [[6, 5, 5, 5, 5, 5], [12, 3, 3, 3, 3, 3]])
def test_of_parts_of_unequal_counts_the_large_ones_are_doubted(each):
    images, labels = shots(*each)
    found = groups.alike(images)
    assert len(set(found.groups)) == len(each) - 1 + each[0]
    np.testing.assert_array_equal(found.doubted, labels)


def test_many_images_and_a_few_strange_ones_are_not_doubted():
    """One group beside single images may be good images and a few defects."""
    images, _ = shots(30, 1, 1)
    assert [len(set(found)) for found in groups.alike(images)] == [32, 32]


def test_images_without_anything_on_them_are_no_parts():
    flat = np.stack([np.full((64, 64), value, np.float32) for value in range(8)])
    assert len(set(groups.alike(flat).groups)) >= 3


def test_a_thumbnail_is_the_mean_of_what_it_covers():
    pixels = np.random.default_rng(0).integers(0, 256, (128, 192, 1), np.uint8).repeat(3, axis=2)
    wanted = pixels[..., 0].reshape(64, 2, 64, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(groups.thumbnail(pixels), wanted, atol=1e-3)
