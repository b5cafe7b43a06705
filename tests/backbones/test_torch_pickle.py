"""Reading torch files without torch: equal to torch.load, and safe for untrusted files."""

import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wtflow_jax.backbones import BACKBONES, torch_pickle
from wtflow_jax.support.errors import WTFlowError

FORMATS = ("zip", "legacy")
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
FLOAT = b"ctorch\nFloatStorage\n"


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


@pytest.mark.parametrize("form", FORMATS)
def test_other_contents_are_refused(tmp_path, form):
    torch = pytest.importorskip("torch", reason="torch writes the files of this test")
    path = tmp_path / "c.pth"
    assert "'epoch' is of type int, not a tensor" in refusal(torch_file(path, form, {"epoch": 3}))
    assert "no dict" in refusal(torch_file(path, form, [torch.zeros(1)]))


@pytest.mark.parametrize("form", FORMATS)
def test_own_writer_is_readable(tmp_path, form):
    # Without this the refusals below could have another reason.
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
    """Protocol 4 asks for globals by STACK_GLOBAL, the others by GLOBAL."""
    touched = tmp_path / "touched"
    attacks = {
        f"{os.system.__module__}.system": Call(os.system, f"touch {touched}"),
        "eval": Call(eval, f"open({str(touched)!r}, 'w')"),
        "__import__": Call(getattr, Call(__import__, "os"), "system"),
        "Path": Path(touched),
    }
    for name, attack in attacks.items():
        for value in (attack, {"weight": attack}, {"weight": [({}, attack)]}):
            program = pickle.dumps(value, protocol)
            message = refusal(write(tmp_path / "evil.pth", form, program))
            assert not touched.exists()
            assert name in message or "getattr" in message
            assert "only tensors are read" in message


DICT = b"ccollections\nOrderedDict\n)R"


@pytest.mark.parametrize(
    "program",
    {
        # Attributes of what the table holds: nothing that a pickle reaches may be changed.
        "build a callable": state(REBUILD + b"}" + encode("function") + encode("x") + b"sb"),
        "build a slot": state(REBUILD + b"N}" + encode("function") + encode("x") + b"s\x86b"),
        "build a storage": state(storage() + b"N}" + encode("key") + encode("x") + b"s\x86b"),
        "call a storage": state(FLOAT + encode((2**40,)) + b"R"),
        "call a string": state(encode("x") + encode(()) + b"R"),
        "call a tensor": state(tensor() + encode(()) + b"R"),
        "new object": state(REBUILD + b")\x81"),
        "instance": state(b"(ios\nsystem\n"),
        "object": state(b"(" + FLOAT + b"o"),
        "extension": state(b"\x82\x01"),
        "text persistent id": state(b"P0\n"),
    }.items(),
    ids=lambda item: item[0],
)
def test_other_ways_to_call_or_change_something(tmp_path, program):
    before = dict(torch_pickle._KNOWN)
    refusal(write(tmp_path / "evil.pth", "zip", program[1]))
    assert before == torch_pickle._KNOWN


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "value",
    {
        "size": tensor(size=(3, 3)),
        "stride": tensor(stride=(4, 1)),
        "offset": tensor(offset=1),
        "huge": tensor(size=(2**40, 2**40)),
        "negative size": tensor(size=(-2, 3)),
        "negative offset": tensor(offset=-1),
        "no ints": tensor(size=("2", "3")),
        "ranks": tensor(size=(2, 3), stride=(1,)),
        "key": tensor(of=storage(key="../1")),
        "kind": tensor(of=storage(kind=encode("FloatStorage"))),
        "no storage": REBUILD + encode((None, 0, (1,), (1,))) + b"R",
        "too few arguments": REBUILD + encode(()) + b"R",
        "storage itself": storage(),
        "long name": b"c" + b"a" * 10_000 + b"\nb\n",
    }.items(),
    ids=lambda item: item[0] if isinstance(item, tuple) else None,
)
def test_tensors_beyond_their_storage_are_refused(tmp_path, form, value):
    assert len(refusal(write(tmp_path / "evil.pth", form, state(value[1])))) < 300


def test_attributes_of_a_state_dict_are_ignored(tmp_path):
    versions = b"}" + encode("_metadata") + encode("x") + b"sb"
    program = b"\x80\x02" + DICT + encode("weight") + tensor() + b"s" + versions + b"."
    assert list(torch_pickle.read(write(tmp_path / "a.pth", "zip", program))) == ["weight"]


@pytest.mark.parametrize("form", FORMATS)
def test_truncated(tmp_path, form):
    whole = write(tmp_path / "a.pth", form, state(tensor())).read_bytes()
    for length in range(len(whole)):
        (tmp_path / "cut.pth").write_bytes(whole[:length])
        refusal(tmp_path / "cut.pth")


@settings(max_examples=50, deadline=None)
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
    path = BACKBONES["efficientnet_lite0"].official.find(Path("unused"))
    expected = torch.load(io.BytesIO(path.read_bytes()), weights_only=True)
    found = torch_pickle.read(path)
    assert list(found) == list(expected)
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name].numpy(), strict=True)
