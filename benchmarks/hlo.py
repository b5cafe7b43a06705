"""Reads kernels, bytes, copies and collectives from the text of a compiled program."""

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from itertools import chain

BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2}
BYTES |= {"f32": 4, "s32": 4, "u32": 4, "f64": 8, "s64": 8, "u64": 8, "c64": 8}
LARGE = 4e6
"""Smallest size in bytes of a reported copy."""
FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "iota"}
FREE |= {"partition-id", "replica-id", "opt-barrier"}
COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
TARGETS = {
    "__cudnn$conv": "cuDNN convolution",
    "__cublas": "cuBLAS product",
    "cusolver": "cuSOLVER",
    "TopK": "TopK",
    "__topk": "TopK",
    "callback": "host callback",
    "cub": "CUB sort",
}


@dataclass(frozen=True)
class Instruction:
    """A line of a computation."""

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    rest: str
    root: bool

    @property
    def target(self) -> str:
        """Return the target of a custom call."""
        found = re.search(r'custom_call_target="([^"]+)"', self.rest)
        return found[1] if found else ""

    def called(self) -> list[str]:
        """Return the names of computations that it calls."""
        names = r"(?:calls|body|to_apply|true_computation|false_computation)=%([\w.\-]+)"
        branches = re.search(r"branch_computations=\{([^}]*)\}", self.rest)
        more = re.findall(r"%([\w.\-]+)", branches[1]) if branches else []
        return re.findall(names, self.rest) + more


@dataclass
class Program:
    """Figures of one run; loops count by their trip count, or once if it is unknown."""

    kernels: Counter[str] = field(default_factory=Counter)
    moved: float = 0.0  #: bytes that kernels read and write
    outside: float = 0.0  #: the part of ``moved`` outside all loops
    copies: float = 0.0  #: bytes that large copies, transposes and converts read and write
    largest: Counter[str] = field(default_factory=Counter)  #: bytes of each of these, by name
    types: Counter[str] = field(default_factory=Counter)  #: dtypes of convolutions and products
    sent: Counter[str] = field(default_factory=Counter)  #: bytes of collectives' results
    hidden: float = 0.0  #: the part of ``sent`` that overlaps with other kernels
    scatters: Counter[str] = field(default_factory=Counter)  #: scatters that add in any order


def size(shape: str) -> float:
    """Return the bytes of a shape; for a tuple, the sum over its parts."""
    parts = re.findall(r"([a-z]\w*)\[([\d,]*)\]", shape)
    return sum(
        BYTES.get(kind, 1) * math.prod(int(d) for d in dims.split(",") if d) for kind, dims in parts
    )


def parsed(text: str) -> tuple[dict[str, list[Instruction]], str]:
    """Return the computations of a module by name, and the name of its entry."""
    found: dict[str, list[Instruction]] = {}
    entry = current = ""
    line = re.compile(r"^\s+(ROOT )?%([\w.\-]+) = (\(.*?\)|\S+) ([a-z][\w\-]*)\((.*)$")
    for row in text.splitlines():
        if head := re.match(r"^(ENTRY )?%([\w.\-]+) .*\{$", row):
            current = head[2]
            entry = current if head[1] else entry
            found[current] = []
        elif (given := line.match(row)) and current:
            arguments, _, rest = given[5].partition(")")
            operands = tuple(re.findall(r"%([\w.\-]+)", arguments))
            if given[4] == "parameter":
                rest = arguments
            found[current].append(
                Instruction(given[2], given[3], given[4], operands, rest, bool(given[1]))
            )
    return found, entry


def _sliced(body: list[Instruction]) -> tuple[dict[int, float], float]:
    """Return the bytes that a fusion reads from each sliced parameter, and the bytes it writes."""
    read: dict[int, float] = {}
    for parameter in (i for i in body if i.opcode == "parameter"):
        users = [i for i in body if parameter.name in i.operands]
        first = bool(users) and all(i.operands[0] == parameter.name for i in users)
        if first and all(i.opcode in ("dynamic-slice", "gather") for i in users):
            read[int(parameter.rest)] = sum(size(i.shape) for i in users)
        elif first and all(i.opcode == "dynamic-update-slice" for i in users):
            read[int(parameter.rest)] = 0
    roots = [i for i in body if i.root]
    by_name = {i.name: i for i in body}
    written = 0.0
    for root in roots:
        ends = [by_name[n] for n in root.operands] if root.opcode == "tuple" else [root]
        for end in ends:
            inner = end
            while inner.opcode == "bitcast" and inner.operands[0] in by_name:
                inner = by_name[inner.operands[0]]
            if inner.opcode == "dynamic-update-slice":
                written += size(by_name[inner.operands[1]].shape)
            else:
                written += size(end.shape)
    return read, written


def analysed(text: str) -> Program:
    """Return the figures of a program from the text of its optimized module."""
    computations, entry = parsed(text)
    found = Program()

    def kind(i: Instruction) -> str:
        if i.opcode == "custom-call":
            of = next((v for k, v in TARGETS.items() if k in i.target), None)
            return of or f"call of {i.target}"
        if i.opcode == "fusion":
            if "__triton" in i.rest:
                return "Triton"
            body = {part.opcode for part in computations[i.called()[0]]}
            if body <= FREE | {"transpose", "copy", "convert", "broadcast"}:
                changed = body & {"transpose", "copy", "convert"}
                return " and ".join(sorted(changed)) or "broadcast"
            return "reduction" if body & {"reduce", "reduce-window"} else "elementwise"
        return i.opcode.removesuffix("-start")

    def add(i: Instruction, shapes: dict[str, str], trips: float, looped: bool) -> None:
        moved = size(i.shape) + sum(size(shapes.get(n, "")) for n in i.operands)
        if i.opcode == "fusion":
            read, written = _sliced(computations[i.called()[0]])
            each = (read.get(k, size(shapes.get(n, ""))) for k, n in enumerate(i.operands))
            moved = written + sum(each)
        what = kind(i)
        found.kernels[what] += round(trips)
        found.moved += trips * moved
        found.outside += 0 if looped else moved
        if moved > LARGE and set(what.split(" and ")) <= {"convert", "copy", "transpose"}:
            found.copies += trips * moved
            found.largest[f"{i.name} {i.shape.split('{')[0]}"] += round(trips * moved)
        if what in ("cuDNN convolution", "cuBLAS product"):
            found.types[re.sub(r"[\[(].*", "", i.shape.lstrip("("))] += round(trips)

    def send(body: list[Instruction], at: int, trips: float) -> None:
        """Add a collective; it is hidden if other kernels run between its start and its end."""
        i = body[at]
        begun = i.opcode.endswith("-start")
        # The shape of all-reduce-start has inputs and results.
        sent = size(i.shape) / (2 if begun and i.opcode.startswith("all-reduce") else 1)
        found.sent[i.opcode.removesuffix("-start")] += round(trips * sent)
        between = [k for k in body[at + 1 :] if k.opcode not in FREE]
        waited = next((k for k, later in enumerate(between) if i.name in later.operands), 0)
        found.hidden += trips * sent * bool(begun and waited)

    def walk(name: str, trips: float, looped: bool = False) -> None:
        shapes = {i.name: i.shape for i in computations[name]}
        for at, i in enumerate(computations[name]):
            if any(i.opcode.startswith(of) for of in COLLECTIVES) and "-done" not in i.opcode:
                send(computations[name], at, trips)
            if i.opcode in FREE or i.opcode.endswith("-done"):
                continue
            if i.opcode == "while":
                known = re.search(r'"known_trip_count":\{"n":"(\d+)"', i.rest)
                body = re.search(r"body=%([\w.\-]+)", i.rest)
                assert body is not None
                walk(body[1], trips * (int(known[1]) if known else 1), True)
            elif i.opcode in ("call", "conditional", "async-start"):
                for inner in i.called():
                    walk(inner, trips, looped)
            else:
                add(i, shapes, trips, looped)

    walk(entry, 1)
    for i in chain.from_iterable(computations.values()):
        adds = i.opcode in ("scatter", "select-and-scatter")
        if adds and "unique_indices=true" not in i.rest:
            found.scatters[re.sub(r".*op_name=\"([^\"]+)\".*", r"\1", i.rest)] += 1
    return found
