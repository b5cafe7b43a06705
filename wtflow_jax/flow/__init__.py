"""The paper: WT maps, targets, paths, loss, transport and scores; no networks, no files."""
