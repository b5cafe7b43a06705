"""The directory of compiled programs."""

import os

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache
from raising import fails

from wtflow_jax.support import compilation


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A directory that holds a program; JAX's own settings are put back."""
    names = "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"
    before = {name: getattr(jax.config, name) for name in names}
    # As this process began; the tests' own place is the environment's.
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    compilation_cache.reset_cache()
    compilation.keep(tmp_path / "compiled")
    jax.jit(lambda x: x * 3)(jnp.ones(5)).block_until_ready()
    yield tmp_path / "compiled"
    for name, value in before.items():
        jax.config.update(name, value)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    compilation_cache.reset_cache()


def test_it_is_the_users_own(tmp_path, kept):
    assert kept.stat().st_mode & 0o777 == 0o700
    for mode in (0o770, 0o707):
        kept.chmod(mode)
        with fails(f"{kept}: other users may write there, and its files are executed; chmod"):
            compilation.keep(kept)


def test_what_is_half_written_is_removed(kept):
    programs = sorted(kept.glob("*-cache"))
    assert programs
    whole = {path.name: path.read_bytes() for path in programs}
    half = kept / f"{programs[0].name[:20]}0-cache"
    half.write_bytes(programs[0].read_bytes()[:-9])
    compilation.keep(kept)
    assert {path.name: path.read_bytes() for path in kept.glob("*-cache")} == whole
    # A directory that was checked once is not read again.
    for path in programs:
        os.utime(path, (1, 1))
        path.write_bytes(b"")
        os.utime(path, (1, 1))
    compilation.keep(kept)
    assert sorted(kept.glob("*-cache")) == programs


def test_another_place_that_jax_was_told_of_is_left(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "elsewhere"))
    compilation.keep(tmp_path / "compiled")
    assert not list(tmp_path.iterdir())
