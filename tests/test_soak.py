"""Many categories one after another in one process: memory stays flat."""

from pathlib import Path

import trees

import soak


def maps():
    """Return the memory maps of this process, of which the kernel allows 65,530."""
    return len(Path("/proc/self/maps").read_text().splitlines())


def test_memory_is_flat_over_categories_of_different_sizes(tmp_path, monkeypatch):
    """Programs compiled for one category's numbers of images are forgotten with it."""
    images = {}
    for i in range(6):
        trees.mvtec_ad(tmp_path / "data", f"part{i}", train=4 + i, good=2 + i, bad=3 + i)
        images[f"part{i}"] = 9 + 3 * i
    found: list[int] = []
    memory = soak.memory

    def noted():
        found.append(maps())
        return memory()

    monkeypatch.setattr(soak, "memory", noted)
    flags = ["--image-size", "64", "--velocity", "exact"]
    points = soak.experiment(tmp_path, images, flags)
    assert [point.images for point in points] == [9, 12, 15, 18, 21, 24]
    assert points[-1].mebibytes - points[2].mebibytes < 40
    assert found[-1] - found[2] < 200
