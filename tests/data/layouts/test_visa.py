"""VisA: its split, and tables that are not as published."""

import numpy as np
import pytest
import rubbish
import trees
from raising import fails

from wtflow_jax.data import Sample, categories, open_category, read_mask


def kinds(category):
    return [(s.kind, s.path.name, s.label) for s in category.test]


def test_visa(tmp_path):
    trees.visa(tmp_path)
    (tmp_path / "LICENSE-DATASET").touch()
    assert categories(tmp_path, "visa") == ("candle", "pcb1")
    category = open_category(tmp_path, "pcb1", "visa")
    data = tmp_path / "pcb1" / "Data"
    names = ("0000.JPG", "0001.JPG", "0003.JPG")
    assert category.train == tuple(
        Sample(data / "Images" / "Normal" / name, 0, "good") for name in names
    )
    assert kinds(category) == [
        ("anomaly", "000.JPG", 1),
        ("anomaly", "001.JPG", 1),
        ("good", "0002.JPG", 0),
        ("good", "0004.JPG", 0),
    ]
    assert category.test[1].masks == (data / "Masks" / "Anomaly" / "001.png",)
    # Values 1 and 3 both count.
    mask = trees.defect(1)[1]
    mask[40:44, 5:9] = True
    np.testing.assert_array_equal(read_mask(category.test[1], (64, 64)), mask)


@pytest.mark.parametrize(
    ("old", "new", "messages"),
    [
        ("object,split", "object,set", ["1cls.csv", "no 'split'", "restore"]),
        ("train,normal", "train,anomaly", ["split 'train' with label 'anomaly'", "restore"]),
        ("test,normal", "val,normal", ["split 'val' with label 'normal'", "restore"]),
        ("pcb1,train", "pcb2,train", ["no train images of pcb1", "restore"]),
        ("Normal/0003", "Normal/0009", ["0009.JPG: listed in", "no such file"]),
        (
            "Masks/Anomaly/001",
            "Masks/Anomaly/009",
            ["001.JPG: a defective image without mask", "add .*009.png"],
        ),
        (
            "pcb1/Data/Masks/Anomaly/001.png",
            "",
            ["001.JPG: a defective image without mask", "add .*pcb1/Data/Masks/Anomaly/001.png"],
        ),
    ],
)
def test_visa_table_is_wrong(tmp_path, old, new, messages):
    table = trees.visa(tmp_path)
    text = table.read_text()
    assert old in text
    table.write_text(text.replace(old, new))
    with fails(*messages):
        open_category(tmp_path, "pcb1", "visa")


def test_visa_without_table(tmp_path):
    table = trees.visa(tmp_path)
    table.write_bytes(b"object,\xff")
    with fails(str(table), "not as published", "restore the published table"):
        open_category(tmp_path, "candle", "visa")
    table.unlink()
    with fails(str(table), r"not as published \(No such file", "restore the published table"):
        open_category(tmp_path, "candle", "visa")


def test_tables_of_strangers(tmp_path):
    path = trees.visa(tmp_path)
    for content in rubbish.TABLES:
        path.write_bytes(content)
        with fails(str(tmp_path)):
            open_category(tmp_path, "candle", "visa")
    for name in ("/etc/passwd", "../../etc/passwd"):
        path.write_text(f"object,split,label,image,mask\ncandle,train,normal,{name},\n")
        with fails("1cls.csv", "leads out of", "restore the published table"):
            open_category(tmp_path, "candle", "visa")
