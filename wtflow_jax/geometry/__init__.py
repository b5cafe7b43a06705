"""Instruments for flow geometry, on any ``velocity_fn(params, t, x)`` and on closed forms."""
