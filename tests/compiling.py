"""Records the programs compiled while code runs."""

import contextlib

import jax.monitoring

EVENT = "/jax/core/compile/backend_compile_duration"
_heard: list[str] = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, seconds, **more: _heard.append(more["fun_name"]) if event == EVENT else None
)


@contextlib.contextmanager
def compilations():
    """Yield the names of functions compiled, or loaded from a cache, within the context."""
    first, found = len(_heard), []
    yield found
    found.extend(_heard[first:])
