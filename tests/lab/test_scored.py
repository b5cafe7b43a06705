"""The file of scored test images: read as written, or one error line."""

import io

import numpy as np
import pytest
from raising import fails

from wtflow_jax.geometry.radial import Radii
from wtflow_jax.lab import scored
from wtflow_jax.lab.scored import Scored
from wtflow_jax.metrics import summary

WHOLE = Scored(
    paths=["a/0.png", "b/\udce9.png", "b/2.png"],
    kinds=["good", "dent", "dent"],
    labels=np.array([False, True, True]),
    known=np.array([True, True, False]),
    scores=np.array([0.1, 0.5, 0.3], np.float32),
    maps=np.arange(3 * 2 * 5, dtype=np.float32).reshape(3, 2, 5),
    masks=np.arange(3 * 2 * 5).reshape(3, 2, 5) % 7 == 4,
    radii=Radii(np.array([0, 2]), np.arange(6.0).reshape(2, 3), 0.25, 8.0),
)


@pytest.mark.parametrize("whole", [WHOLE, WHOLE._replace(masks=None, radii=None)])
def test_what_is_saved_is_loaded(whole, tmp_path):
    scored.save(tmp_path / "part" / "scores.npz", whole)
    found = scored.load(tmp_path / "part" / "scores.npz")
    assert (found.paths, found.kinds) == (whole.paths, whole.kinds)
    for ours, theirs in zip(found[2:7], whole[2:7], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (found.radii is None) == (whole.radii is None)
    for ours, theirs in zip(found.radii or (), whole.radii or (), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_another_form_is_one_line(tmp_path):
    path = tmp_path / "scores.npz"
    scored.save(path, WHOLE._replace(radii=None))
    whole = dict(np.load(path))
    for name, array in whole.items():
        for other in (
            array[:2],
            array[None],
            array.astype(complex if array.dtype.kind != "U" else object),
            np.array(object()),
        ):
            np.savez(path, **whole | {name: other})
            with fails("scores.npz: cannot be read"):
                scored.load(path)
        np.savez(path, **{other: whole[other] for other in whole if other != name})
        if name != "mask":
            with fails("scores.npz: cannot be read", name):
                scored.load(path)


def test_what_is_no_such_file_is_one_line(tmp_path):
    path = tmp_path / "scores.npz"
    with fails("scores.npz: cannot be read", "no such file"):
        scored.load(path)
    content = io.BytesIO()
    np.save(content, np.zeros(2))
    header = content.getvalue().replace(b"(2,)", b"(2" + b"0" * 12 + b",)")
    for bad in (b"", b"PK", b"PK\x05\x06" + bytes(18), content.getvalue(), header, b"\x80\x04."):
        path.write_bytes(bad)
        with fails("scores.npz: cannot be read"):
            scored.load(path)


def test_evenly():
    assert scored.evenly(10, 4).tolist() == [0, 3, 6, 9]
    assert scored.evenly(3, 16).tolist() == [0, 1, 2]
    assert scored.evenly(0, 4).tolist() == []


def warned(whole):
    with summary.reasons() as found:
        scored.warn(whole)
    return found


def test_what_has_no_metric_or_one_in_doubt_is_said():
    (unknown,) = warned(WHOLE)
    assert unknown.startswith("defective images without a mask: 1, the first is b/2.png")
    good, _ = warned(WHOLE._replace(labels=np.ones(3, bool)))
    assert good == "no good test image: scores and maps are written, but no image metrics"
    whole = WHOLE._replace(labels=np.zeros(3, bool), known=np.ones(3, bool), masks=None)
    (bad,) = warned(whole)
    assert bad == "no defective test image: scores and maps are written, but no metrics"
    inverted = WHOLE._replace(masks=~WHOLE.masks, known=np.ones(3, bool))
    (doubt,) = warned(inverted)
    assert "are they inverted?" in doubt
