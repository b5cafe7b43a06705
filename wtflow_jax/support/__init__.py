"""Atomic file writes, locks, signals, console, environment."""
