"""Shapes and dtypes of the whole API are checked while the tests run; shared fixtures."""

import gc
import os
import signal
import tempfile
from pathlib import Path

from jaxtyping import install_import_hook

# In this process and in the command lines that tests start.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# What one test or command line has compiled, the next one takes from here; so do all workers,
# and the slow tests after the others where both are given one directory (.ci/run).
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    COMPILED = tempfile.TemporaryDirectory()
    os.environ["JAX_COMPILATION_CACHE_DIR"] = COMPILED.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
# Most of the time is LLVM's; with XLA_FLAGS= it compiles as for users (.ci/oldest, .ci/newest).
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=1")
# A shell's background job ignores it, and so would what the tests start and stop.
signal.signal(signal.SIGINT, signal.default_int_handler)
install_import_hook("wtflow_jax", "typechecker.checked")

import jax  # noqa: E402
import pytest  # noqa: E402

SHARED = Path(__file__).parents[2] / "shared"


def shared(*parts: str) -> Path:
    """Return a path of real data or weights, or skip the test naming what is missing."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs {Path(*parts)}, which is not on this machine")
    return path


@pytest.fixture(scope="session")
def small_model(tmp_path_factory) -> Path:
    """A model of the four images in ``good`` beside it."""
    import trees
    from running import wtflow

    place = tmp_path_factory.mktemp("small")
    for i in range(4):
        trees.write(place / "good" / f"{i}.png", trees.noisy(i))
    assert wtflow("fit", place / "good", "--out", place / "model", "--image-size", "64") == 0
    return place / "model"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that are ``long`` as ``slow`` too."""
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker("slow")


def pytest_collection_finish() -> None:
    """Spare the garbage collector all that was imported; it takes half a second each time."""
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def forget_what_was_compiled():
    """Keep a worker small: thousands of programs are gigabytes, and use up its memory maps."""
    yield
    jax.clear_caches()
