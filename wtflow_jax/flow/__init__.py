"""The paper: WT maps, targets, paths, loss, transport and scores; nothing of networks or files."""
