"""Arrays and their metadata in one file: read back equal, or an error."""

import numpy as np
import pytest
import safetensors.numpy

from wtflow_jax.support import tensors

ARRAYS = {
    "a/0": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "b": np.array(True),
    "empty": np.zeros((0, 4), np.int64),
    "bytes": np.arange(5, dtype=np.uint8)[::2],
}
ABOUT = {"format": 3, "names": ["a", "é"], "none": None}


@pytest.fixture
def saved(tmp_path):
    tensors.save(tmp_path / "new" / "a.safetensors", ARRAYS, ABOUT)
    return tmp_path / "new" / "a.safetensors"


def test_what_was_saved_is_loaded(saved):
    arrays, about = tensors.load(saved)
    assert about == ABOUT
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)
    assert [path.name for path in saved.parent.iterdir()] == ["a.safetensors"]


def test_any_other_byte_is_told(saved):
    whole = saved.read_bytes()
    for at in range(0, len(whole), 7):
        saved.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(ValueError, match=r"^[^\n]+\Z"):
            tensors.load(saved)
    for end in (0, 5, len(whole) // 2, len(whole) - 1):
        saved.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"^[^\n]+\Z"):
            tensors.load(saved)


def test_another_description_is_not_what_was_written(saved):
    """Arrays of one model and the threshold of another would fit together."""
    arrays, metadata = tensors.read(saved)
    text = metadata[tensors.ABOUT].replace("3", "4")
    saved.write_bytes(safetensors.numpy.save(arrays, metadata | {tensors.ABOUT: text}))
    with pytest.raises(ValueError, match="checksum mismatch"):
        tensors.load(saved)


def test_a_file_of_others_has_no_description(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(safetensors.numpy.save({"a": np.ones(2)}))
    arrays, metadata = tensors.read(path)
    np.testing.assert_array_equal(arrays["a"], [1, 1])
    assert metadata == {}
    with pytest.raises(ValueError, match="of an earlier version, or of another program"):
        tensors.load(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        tensors.read(tmp_path / "a")
    with pytest.raises(ValueError, match="no such file"):
        tensors.read(tmp_path)
