"""State, step, schedule, checkpoints, devices."""
