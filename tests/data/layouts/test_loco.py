"""MVTec LOCO: masks of several defects, and how much of each must be found."""

import json

import numpy as np
import pytest
import trees
from raising import fails

from wtflow_jax.data import Saturation, categories, open_category, read_mask, regions


def test_loco(tmp_path):
    directory = trees.mvtec_loco(tmp_path)
    category = open_category(tmp_path, "pushpins", "mvtec_loco")
    assert categories(tmp_path, "mvtec_loco") == ("pushpins",)
    assert len(category.train) == 4
    assert [s.path.parent.parent.name for s in category.validation] == ["validation"] * 2
    assert [(s.kind, s.path.name, s.label) for s in category.test] == [
        ("good", "000.png", 0),
        ("good", "001.png", 0),
        ("logical_anomalies", "000.png", 1),
        ("structural_anomalies", "000.png", 1),
    ]
    masks = directory / "ground_truth"
    assert category.test[2].masks == tuple(
        masks / "logical_anomalies" / "000" / name for name in ("000.png", "001.png")
    )
    assert category.test[3].masks == (masks / "structural_anomalies" / "000" / "000.png",)
    assert category.saturations == {255: Saturation(300, False), 254: Saturation(0.25, True)}


def test_loco_regions(tmp_path):
    trees.mvtec_loco(tmp_path)
    category = open_category(tmp_path, "pushpins", "mvtec_loco")
    sample = category.test[2]
    mask = trees.defect(0)[1]
    assert mask.sum() == 288
    first, second = regions(sample, (64, 64), category.saturations)
    np.testing.assert_array_equal(first.mask, mask)
    np.testing.assert_array_equal(second.mask, np.roll(mask, 24, axis=0))
    # 300 pixels are more than the defect has; the other is a quarter of its area.
    assert (first.saturation, second.saturation) == (288, 72)
    union = read_mask(sample, (64, 64))
    np.testing.assert_array_equal(union, first.mask | second.mask)
    # Half as high and twice as wide: as large as before, height and width not mixed up.
    first, second = regions(sample, (32, 128), category.saturations)
    np.testing.assert_array_equal(first.mask, np.repeat(mask[1::2], 2, axis=1))
    assert (first.saturation, second.saturation) == (288, 72)
    # Below its area an absolute saturation goes with the image, as a relative one does.
    saturations = {255: Saturation(100, False), 254: Saturation(0.25, True)}
    sizes = {(64, 64): (100, 72), (32, 32): (25, 18), (128, 64): (200, 144)}
    for size, expected in sizes.items():
        found = tuple(region.saturation for region in regions(sample, size, saturations))
        assert found == expected
    assert regions(category.test[0], (64, 64), category.saturations) == []


def test_loco_region_too_small_to_be_seen(tmp_path):
    directory = trees.mvtec_loco(tmp_path)
    category = open_category(tmp_path, "pushpins", "mvtec_loco")
    dot = np.zeros((64, 64), np.uint8)
    dot[0, 0] = 255
    trees.write(directory / "ground_truth" / "logical_anomalies" / "000" / "000.png", dot)
    whole = regions(category.test[2], (64, 64), category.saturations)
    assert [region.saturation for region in whole] == [300 / 300, 72]
    (left,) = regions(category.test[2], (32, 32), category.saturations)
    assert left.saturation == 18


def test_loco_mask_that_is_not_one_known_defect(tmp_path):
    directory = trees.mvtec_loco(tmp_path)
    category = open_category(tmp_path, "pushpins", "mvtec_loco")
    path = directory / "ground_truth" / "structural_anomalies" / "000" / "000.png"
    values = np.zeros((64, 64), np.uint8)
    for marks, message in (((), r"zero are \[\]"), ((254, 7), r"zero are \[7, 254\]")):
        values[0, : len(marks)] = marks
        trees.write(path, values)
        with fails(str(path), message, "restore"):
            regions(category.test[3], (64, 64), category.saturations)
    trees.write(path, np.where(values, 7, 0).astype(np.uint8))
    with fails(str(path), r"are \[7\], but must be one of defects_config.json's \[254, 255\]"):
        regions(category.test[3], (64, 64), category.saturations)
    trees.write(path, np.full((64, 32), 254, np.uint8))
    with fails(str(path), "64x32", "64x64"):
        regions(category.test[3], (64, 64), category.saturations)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, "No such file"),
        ("[", "Expecting value"),
        ("5", "not iterable"),
        ({"pixel_value": "all"}, "invalid literal"),
        ({"saturation_threshold": 1.5}, "saturation_threshold 1.5"),
        ({"saturation_threshold": 0}, "saturation_threshold 0"),
        ({"saturation_threshold": 10**400}, "saturation_threshold 1000"),
        ({"saturation_threshold": "many"}, "not supported"),
    ],
)
def test_loco_config_cannot_be_read(tmp_path, change, message):
    config = trees.mvtec_loco(tmp_path) / "defects_config.json"
    if change is None:
        config.unlink()
    elif isinstance(change, str):
        config.write_text(change)
    else:
        config.write_text(json.dumps([trees.LOCO_CONFIG[1] | change]))
    with fails(str(config), "not a table of defects", message, "restore the published file"):
        open_category(tmp_path, "pushpins", "mvtec_loco")


def test_loco_config_lacks_a_field(tmp_path):
    config = trees.mvtec_loco(tmp_path) / "defects_config.json"
    config.write_text('[{"pixel_value": 255}]')
    with fails(str(config), "no 'saturation_threshold'"):
        open_category(tmp_path, "pushpins", "mvtec_loco")
