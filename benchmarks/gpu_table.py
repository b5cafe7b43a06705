"""Prints the section "On a GPU" of docs/performance.md, from the output of benchmarks/gpu.py.

    python benchmarks/gpu.py --json gpu.json
    python benchmarks/gpu_table.py gpu.json

Cells of a part that failed or was not run are empty; reasons of failures are below the tables.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import tyro

PAPER = {"batch 1, 1 steps: ms": "6.7 ms", "batch 1, 20 steps: ms": "330 ms"}
"""On an RTX 3090, Sec. V-F."""
Found = dict[str, Any]


def table(headings: list[str], rows: list[list[str]]) -> str:
    """Return a table, without rows that have no figure of ours."""
    kept = [row for row in rows if any(row[1:3])]
    lines = [headings, ["---"] * len(headings), *kept]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) if kept else ""


def figure(found: Found, part: str, name: str, unit: str = "") -> str:
    """Return a figure with three significant digits, or "" if it is missing."""
    value = found.get(part, {}).get(name)
    if not isinstance(value, float | int):
        return ""
    return f"{value:,.0f}{unit}" if abs(value) >= 1000 else f"{value:.3g}{unit}"


def network(found: Found, width: int) -> str:
    """Return the table of a width: training and Euler steps, by precision, torch, the paper."""
    ways = [f"{width} {precision}" for precision in ("float32", "bfloat16")]
    card = found.get("card", {})

    def row(label: str, part: str, name: str, unit: str, paper: str = "") -> list[str]:
        return [label, *(figure(found, f"{part} {way}", name, unit) for way in ways), paper]

    def share(way: str, peak: str) -> str:
        reached, most = found.get(f"train {way}", {}).get("TFLOP/s"), card.get(f"TFLOP/s {peak}")
        return f"{100 * reached / most:.0f} %" if reached and most else ""

    def least(way: str) -> str:
        weights, copied = found.get(f"steps {way}", {}).get("GB weights"), card.get("GB/s")
        return f"{1e3 * weights / copied:.2g} ms" if weights and copied else ""

    rows = [
        row("training step, batch 8", "train", "ms", " ms"),
        row("images a second", "train", "images/s", ""),
        ["of a large product's rate", share(ways[0], "tf32"), share(ways[1], "bfloat16"), ""],
        row("memory, planned", "train", "GB planned", " GB"),
        row("memory, most in use", "train", "GB peak", " GB", "15.2 GB" if width == 768 else ""),
        row("torch, eager, a step", "torch", "step eager ms", " ms"),
        row("torch, compiled, a step", "torch", "step compile ms", " ms"),
        ["weights read once", *map(least, ways), ""],
    ]
    for batch in (1, 8):
        for n in (1, 20):
            name = f"batch {batch}, {n} steps: ms"
            label = f"{n} Euler step{'s' * (n > 1)}, {batch} map{'s' * (batch > 1)}"
            rows.append(row(label, "steps", name, " ms", PAPER.get(name, "") * (width == 768)))
    return table([f"width {width}", "float32 (TF32)", "bfloat16", "paper"], rows)


def others(found: Found) -> str:
    """Return the table of whitening, exact fields, the route and the built-in category."""
    parts = ("whitening", "exact", "route", "builtin", "builtin cpu")
    rows = [
        [f"{part}: {name}", figure(found, part, name)]
        for part in parts
        for name in found.get(part, {})
        if name != "seconds"
    ]
    return table(["part", "figure"], rows)


def same(found: Found, name: str) -> str:
    """Return a phrase that says whether two processes computed the same bits."""
    once, twice = (found.get(part, {}).get("digest") for part in (name, f"{name}, again"))
    if not once or not twice:
        return f"{name}: not compared"
    return f"{name}: {'the same' if once == twice else 'NOT the same'} in two processes"


def section(found: Found) -> str:
    """Return the section of docs/performance.md."""
    card = found.get("card", {})
    rates = [
        f"{label} {figure(found, 'card', name)}"
        for name in card
        if (label := name.removeprefix("TFLOP/s ")) != name
    ]
    versions = [f"{name} {version}" for name, version in card.get("versions", {}).items()]
    where = ", ".join([card.get("device", "no card"), *versions])
    head = f"{where}. Products of matrices, TFLOP/s: {', '.join(rates)}; a copy "
    head += f"{figure(found, 'card', 'GB/s')} GB/s.\n"
    failed = [
        f"- {part}: {figures['failed'].splitlines()[-1]}\n"
        for part, figures in found.items()
        if figures.get("failed")
    ]
    bits = "; ".join(same(found, name) for name in ("bits", "bits deterministic"))
    tables = [network(found, 768), network(found, 512), others(found)]
    return "\n".join(part for part in (head, *tables, f"{bits}.\n", "".join(failed)) if part)


def main(file: Annotated[Path, tyro.conf.Positional]) -> None:
    """Print the section of a file that benchmarks/gpu.py wrote."""
    print(section(json.loads(file.read_text())), end="")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
