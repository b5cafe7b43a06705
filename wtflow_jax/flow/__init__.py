"""The paper: WT maps, targets, paths, loss, transport, scores."""
