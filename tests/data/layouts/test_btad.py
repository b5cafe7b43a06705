"""BTAD: masks whose extensions differ from the images."""

import numpy as np
import pytest
import trees

from wtflow_jax.data import categories, open_category, read_mask


def kinds(category):
    return [(s.kind, s.path.name, s.label) for s in category.test]


@pytest.mark.parametrize(
    ("name", "image", "mask"), [("01", "bmp", "png"), ("02", "png", "PNG"), ("03", "BMP", "bmp")]
)
def test_btad(tmp_path, name, image, mask):
    trees.btad(tmp_path)
    (tmp_path / name / "test" / "ko" / "Thumbs.db").touch()
    assert categories(tmp_path, "btad") == ("01", "02", "03")
    category = open_category(tmp_path, name, "btad")
    assert [(s.path.name, s.label) for s in category.train] == [
        (f"000{i}.{image}", 0) for i in range(3)
    ]
    assert kinds(category) == [
        ("good", f"0000.{image}", 0),
        ("ko", f"0000.{image}", 1),
        ("ko", f"0001.{image}", 1),
    ]
    masks = tmp_path / name / "ground_truth" / "ko"
    assert category.test[2].masks == (masks / f"0001.{mask}",)
    np.testing.assert_array_equal(read_mask(category.test[2], (64, 64)), trees.defect(1)[1])
