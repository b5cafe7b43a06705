"""The notes on good images after a fit are true, and their advice works."""

import dataclasses
import re

import pytest
import trees
from hypothesis import given
from hypothesis import strategies as st

from wtflow_jax import data
from wtflow_jax.app import fit
from wtflow_jax.app.notes import notes, share_of


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(1, n), st.just(n))))
def test_the_share_that_is_advised_leaves_out_as_many(pair):
    count, n = pair
    assert fit.left_out(share_of(count, n), n) == count
    assert share_of(count, n) <= count / n


@pytest.fixture(scope="module")
def files():
    """Good images and one defective image."""
    images = [trees.noisy(i, defect=i == 3) for i in range(14)]
    return list(data.find(images))


def told(files, **flags):
    model = fit.fit(files, image_size="64", group="none", **flags)
    return "\n".join(notes(model, files, "none"))


@pytest.mark.long
def test_the_advice_leaves_out_as_many_as_were_named(files):
    line = told(files)
    assert line.startswith("far above all others: image 4 (")
    share = float(re.fullmatch(r".*, remove them or give --contamination ([0-9.]+)", line)[1])
    left, *_ = told(files, contamination=share).splitlines()
    assert left.startswith("left out: image 4 (")
    assert left.count("image ") == line.count("image ")


@pytest.mark.long
def test_all_that_are_left_out_are_named(files):
    left, doubt = told(files, contamination=0.5).splitlines()[:2]
    assert left.count("image ") == 7
    # The rest are good.
    assert int(doubt.partition(" ")[0]) in range(1, 7)
    assert (
        "of those left out are not far above the others: if they are good, the threshold" in doubt
    )


def test_no_advice_that_would_leave_too_few(files):
    model = fit.fit(files[:3], image_size="64", group="none")
    scores = {"held_out": [1.0, 1.01, 90.0], "held_out_of": [0, 1, 2]}
    model = dataclasses.replace(model, training={**model.training, **scores})
    (line,) = notes(model, files, "none")
    assert line.endswith("remove them and give more good images")
