"""The tables of benchmarks/gpu_table.py from the figures of benchmarks/gpu.py."""

import gpu_table

FOUND = {
    "card": {"device": "T", "versions": {"jax": "1"}, "TFLOP/s tf32": 200.0, "GB/s": 3000.0},
    "train 768 float32": {"ms": 12.34, "images/s": 648.3, "TFLOP/s": 100.0, "GB planned": 12.7},
    "train 768 bfloat16": {"failed": "Traceback\nRESOURCE_EXHAUSTED"},
    "steps 768 float32": {"GB weights": 3.0, "batch 1, 1 steps: ms": 1.5},
    "route": {"backbone": "resnet18", "images to scores, batch 1: ms": 1234.5, "seconds": 3.0},
    "bits": {"digest": "a"},
    "bits, again": {"digest": "b"},
}


def test_figures_beside_the_paper_and_failures_by_name():
    lines = gpu_table.section(FOUND).splitlines()
    assert lines[0] == "T, jax 1. Products of matrices, TFLOP/s: tf32 200; a copy 3,000 GB/s."
    assert "| training step, batch 8 | 12.3 ms |  |  |" in lines
    assert "| of a large product's rate | 50 % |  |  |" in lines
    assert "| 1 Euler step, 1 map | 1.5 ms |  | 6.7 ms |" in lines
    assert "| weights read once | 1 ms |  |  |" in lines
    assert "| route: images to scores, batch 1: ms | 1,234 |" in lines
    assert "- train 768 bfloat16: RESOURCE_EXHAUSTED" in lines
    assert "bits: NOT the same in two processes; bits deterministic: not compared." in lines
    # Parts that were not run have no row; a width without any run has no table.
    assert not any("torch" in line or "width 512" in line or "seconds" in line for line in lines)


def test_nothing_that_ran():
    assert "not compared" in gpu_table.section({"card": {"failed": "no card"}})
