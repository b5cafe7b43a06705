"""Reading torch files without torch: equal to torch.load, and harmless whatever the file says."""

import io
import os
import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wtflow_jax.backbones import torch_pickle
from wtflow_jax.support.errors import WTFlowError

FORMATS = ("zip", "legacy")
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
FLOAT, INT = b"ctorch\nFloatStorage\n", b"ctorch\nIntStorage\n"


def encode(value) -> bytes:
    """Pickle opcodes of ints, strings, None and tuples; bytes stand for opcodes themselves."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        raw = value.encode()
        return b"X" + struct.pack("<I", len(raw)) + raw
    if isinstance(value, int):
        raw = pickle.encode_long(value)
        return b"\x8a" + bytes([len(raw)]) + raw
    if value is None:
        return b"N"
    return b"(" + b"".join(map(encode, value)) + b"t"


def storage(numel=6, key="0", kind=FLOAT) -> bytes:
    return encode(("storage", kind, key, "cpu", numel)) + b"Q"


def tensor(offset=0, size=(2, 3), stride=(3, 1), of=None) -> bytes:
    arguments = (of or storage(), offset, size, stride, b"\x89", b"ccollections\nOrderedDict\n)R")
    return REBUILD + encode(arguments) + b"R"


def state(value: bytes, name: bytes | None = None) -> bytes:
    name = encode("weight") if name is None else name
    return b"\x80\x02}" + name + value + b"s."


def write(path: Path, form: str, program: bytes) -> Path:
    """Wrap a pickle as torch does, with one storage named 0 that holds 0 to 5."""
    payload = np.arange(6, dtype="<f4")
    if form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", program)
            archive.writestr("archive/data/0", payload.tobytes())
    else:
        head = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
        tail = pickle.dumps(["0"], 2) + struct.pack("<q", payload.size) + payload.tobytes()
        path.write_bytes(head + program + tail)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(WTFlowError) as caught:
        torch_pickle.read(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message.removeprefix(str(path))


def torch_file(path: Path, form: str, value) -> Path:
    torch = pytest.importorskip("torch", reason="torch writes the files of this test")
    torch.save(value, path, _use_new_zipfile_serialization=form == "zip")
    return path


@pytest.mark.parametrize("form", FORMATS)
def test_equals_torch_load(tmp_path, form):
    torch = pytest.importorskip("torch", reason="torch.load is the reference")
    base = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(0))
    value = {
        **{str(t): (base * 50).to(t) for t in (torch.float16, torch.float32, torch.float64)},
        **{str(t): (base * 9).to(t) for t in (torch.int8, torch.int16, torch.int32, torch.int64)},
        "uint8": (base.abs() * 9).to(torch.uint8),
        "bool": base > 0,
        "bfloat16": base.to(torch.bfloat16),
        "scalar": torch.tensor(3),
        "empty": torch.zeros(0, 7),
        "permuted": base.permute(2, 0, 1),
        "part": base[1:4, ::2],
        "parameter": torch.nn.Parameter(base[0]),
    }
    path = torch_file(tmp_path / "state.pth", form, value)
    expected, found = torch.load(path, weights_only=True), torch_pickle.read(path)
    assert list(found) == list(expected)
    for name, array in found.items():
        reference = expected[name].detach()
        if reference.dtype == torch.bfloat16:
            reference = reference.float()
        np.testing.assert_array_equal(array, reference.numpy(), strict=True)


@pytest.mark.parametrize("form", FORMATS)
def test_state_dict_of_a_module(tmp_path, form):
    torch = pytest.importorskip("torch", reason="torch writes the files of this test")
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    found = torch_pickle.read(torch_file(tmp_path / "m.pth", form, module.state_dict()))
    assert list(found) == list(module.state_dict())
    np.testing.assert_array_equal(found["0.weight"], module[0].weight.detach().numpy())


@pytest.mark.parametrize("form", FORMATS)
def test_whole_module_is_refused_by_name(tmp_path, form):
    torch = pytest.importorskip("torch", reason="torch writes the files of this test")
    message = refusal(torch_file(tmp_path / "m.pth", form, torch.nn.Linear(2, 2)))
    assert "torch.nn.modules.linear.Linear" in message
    assert "state_dict" in message


@pytest.mark.parametrize("form", FORMATS)
def test_other_contents_are_refused(tmp_path, form):
    torch = pytest.importorskip("torch", reason="torch writes the files of this test")
    path = tmp_path / "c.pth"
    assert "'epoch' is of type int" in refusal(torch_file(path, form, {"epoch": 3}))
    assert "no dict" in refusal(torch_file(path, form, [torch.zeros(1)]))


@pytest.mark.parametrize("form", FORMATS)
def test_own_writer_is_readable(tmp_path, form):
    # Otherwise the refusals below could have any reason.
    found = torch_pickle.read(write(tmp_path / "a.pth", form, state(tensor(1, (2, 2), (3, 1)))))
    np.testing.assert_array_equal(found["weight"], [[1, 2], [4, 5]])
    with pytest.raises(ValueError, match="read-only"):
        found["weight"][0] = 1


class Call:
    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_nothing_is_executed(tmp_path, form, protocol):
    touched = tmp_path / "touched"
    attacks = {
        f"{os.system.__module__}.system": Call(os.system, f"touch {touched}"),
        "eval": Call(eval, f"open({str(touched)!r}, 'w')"),
        "getattr": Call(getattr, Call(__import__, "os"), "system"),
        "Path": Path(touched),
    }
    for name, attack in attacks.items():
        for value in (attack, {"weight": attack}, {"weight": [({}, attack)]}):
            program = pickle.dumps(value, protocol)
            message = refusal(write(tmp_path / "evil.pth", form, program))
            assert not touched.exists()
            if protocol == 2:
                assert name in message or "__import__" in message
                assert "only tensors are read" in message


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "program",
    {
        "size": state(tensor(size=(3, 3))),
        "stride": state(tensor(stride=(4, 1))),
        "offset": state(tensor(offset=1)),
        "huge": state(tensor(size=(2**40, 2**40))),
        "overflow": state(tensor(size=(2**63, 2), stride=(2**64, 1))),
        "expanded": state(tensor(size=(2**50,), stride=(0,))),
        "negative size": state(tensor(size=(-2, 3))),
        "negative stride": state(tensor(offset=5, stride=(-3, -1))),
        "negative offset": state(tensor(offset=-1)),
        "no ints": state(tensor(size=("2", "3"))),
        "bool": state(tensor(size=(b"\x88", b"\x88"))),
        "ranks": state(tensor(size=(2, 3), stride=(1,))),
        "many axes": state(tensor(size=(1,) * 40, stride=(1,) * 40)),
        "empty of absurd width": state(tensor(size=(0, 2**80), stride=(1, 1))),
        "numel": state(tensor(of=storage(numel=2**60))),
        "numel too small": state(tensor(size=(2,), stride=(1,), of=storage(numel=2))),
        "numel negative": state(tensor(of=storage(numel=-1))),
        "key": state(tensor(of=storage(key="../1"))),
        "kind": state(tensor(of=storage(kind=b"ctorch\nSize\n"))),
        "kind is a string": state(tensor(of=storage(kind=encode("FloatStorage")))),
        "two types": state(tensor() + b"s" + encode("b") + tensor(of=storage(kind=INT))),
        "pid a string": state(encode("storage") + b"Q"),
        "pid short": state(encode(("storage", FLOAT)) + b"Q"),
        "pid a module": state(encode(("module", FLOAT, "x", "y", "z")) + b"Q"),
        "pid with a view": state(encode(("storage", FLOAT, "0", "cpu", 6, ("k", 0, 9))) + b"Q"),
        "storage called": state(FLOAT + encode((2**40,)) + b"R"),
        "tensor of nothing": state(REBUILD + encode((None, 0, (1,), (1,))) + b"R"),
        "too few arguments": state(REBUILD + encode(()) + b"R"),
        "parameter": state(b"ctorch._utils\n_rebuild_parameter\n" + encode((3, None, None)) + b"R"),
        "call of a string": state(encode("x") + encode(()) + b"R"),
        "call of a tensor": state(tensor() + encode(()) + b"R"),
        "inst": state(b"(ios\nsystem\n"),
        "obj": state(b"(" + FLOAT + b"o"),
        "newobj": state(FLOAT + b")\x81"),
        "extension": state(b"\x82\x01"),
        "text persistent id": state(b"P0\n"),
        "memo unset": state(b"h\x07"),
        "stack empty": b"\x80\x02s.",
        "no mark": b"\x80\x02}u.",
        "global without name": state(b"NN\x93"),
        "key no string": state(tensor(), encode(3)),
        "key nested": state(tensor(), b")" + b"\x85" * 100_000),
        "no dict": b"\x80\x02" + tensor() + b".",
        "storage itself": state(storage()),
        "long name": state(b"c" + b"a" * 10_000 + b"\nb\n"),
        "newline in name": state(encode(3), encode("a\nb")),
    }.items(),
    ids=lambda item: item[0] if isinstance(item, tuple) else None,
)
def test_hostile_pickles_are_refused(tmp_path, form, program):
    message = refusal(write(tmp_path / "evil.pth", form, program[1]))
    assert len(message) < 300


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "program",
    {
        "memo": state(tensor() + b"r" + struct.pack("<I", 2**31 - 1)),
        "bytes": state(b"\x8e" + struct.pack("<Q", 2**40)),
        "bytearray": state(b"\x96" + struct.pack("<Q", 2**40)),
        "string": state(b"\x8d" + struct.pack("<Q", 2**62)),
        "frame": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + state(tensor())[2:],
        "copies": b"\x80\x02](" + b"N" * 20_000 + b"eq\x00" + b"ctorch\nSize\nh\x00\x85R" * 1_000,
    }.items(),
    ids=lambda item: item[0] if isinstance(item, tuple) else None,
)
def test_memory_stays_near_the_file_size(tmp_path, form, program):
    path = write(tmp_path / "evil.pth", form, program[1])
    tracemalloc.start()
    try:
        torch_pickle.read(path)
    except WTFlowError:
        assert program[0] != "memo"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16e6


def test_zip_entries_cannot_claim_more_than_the_file(tmp_path):
    bomb = tmp_path / "bomb.pth"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", state(tensor(of=storage(numel=2**20))))
        archive.writestr("archive/data/0", bytes(2**22))
    assert "compressed" in refusal(bomb)

    raw = bytearray(write(tmp_path / "a.pth", "zip", state(tensor())).read_bytes())
    entry = raw.rindex(b"PK\x01\x02")
    raw[entry + 20 : entry + 28] = struct.pack("<II", 0xFFFFFFF0, 0xFFFFFFF0)
    bomb.write_bytes(raw)
    assert "claim" in refusal(bomb)


def test_zip_of_something_else(tmp_path):
    path = tmp_path / "a.pth"
    for names, expected in {
        ("readme.txt",): "no data.pkl",
        ("a/data.pkl", "b/data.pkl"): "no data.pkl",
        ("a/data.pkl", "a/constants.pkl"): "TorchScript",
        ("a/data.pkl", "a/byteorder"): "little-endian",
    }.items():
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, b"big")
        assert expected in refusal(path)


@pytest.mark.parametrize("form", FORMATS)
def test_truncated_or_flipped(tmp_path, form):
    whole = write(tmp_path / "a.pth", form, state(tensor())).read_bytes()
    path = tmp_path / "cut.pth"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        refusal(path)
    rng = np.random.default_rng(0)
    for _ in range(500):
        program = bytearray(state(tensor()))
        for position in rng.integers(len(program), size=2):
            program[position] = rng.integers(256)
        write(path, form, bytes(program))
        try:
            found = torch_pickle.read(path)
        except WTFlowError:
            refusal(path)
        else:
            assert all(array.size <= 6 for array in found.values())


@settings(max_examples=150, deadline=None)
@given(st.sampled_from((b"", b"PK\x03\x04", b"\x80\x02")), st.binary(max_size=200))
def test_garbage(tmp_path_factory, start, body):
    path = tmp_path_factory.getbasetemp() / "garbage.pth"
    path.write_bytes(start + body)
    refusal(path)


def test_damaged_storage_is_noticed_by_its_checksum(tmp_path):
    path = write(tmp_path / "a.pth", "zip", state(tensor()))
    raw = path.read_bytes()
    path.write_bytes(raw.replace(np.arange(6, dtype="<f4").tobytes(), bytes(24)))
    assert "CRC" in refusal(path)


def test_missing_file_names_itself(tmp_path):
    assert "No such file" in refusal(tmp_path / "none.pth")


def test_packaged_weights_equal_torch_load():
    torch = pytest.importorskip("torch", reason="torch.load is the reference")
    from wtflow_jax.backbones import weights

    path = weights.resolve("efficientnet_lite0", None, Path("unused"))
    expected = torch.load(io.BytesIO(path.read_bytes()), weights_only=True)
    found = torch_pickle.read(path)
    assert list(found) == list(expected)
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name].numpy(), strict=True)
