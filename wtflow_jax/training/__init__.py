"""Training: state, step, schedule, checkpoints, devices."""
