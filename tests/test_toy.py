import numpy as np

import ring


def test_points_drift_inwards_before_they_reach_the_ring(tmp_path):
    (panel,) = ring.compute(sigmas=(0.2,), epochs=25, samples=2048)
    radius = np.linalg.norm(panel.trajectories, axis=-1).mean(0)
    lowest = int(np.argmin(radius))
    # Observation 2: first contraction, then expansion.
    assert 0 < lowest < 50
    assert radius[lowest] < 0.97 * radius[0]
    assert radius[-1] > 1.3 * radius[0]
    ring.plot([panel], tmp_path / "ring.png")
    assert (tmp_path / "ring.png").stat().st_size > 10_000
