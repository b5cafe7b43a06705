"""Which image files a command line means."""

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from wtflow_jax.data.files import EXTENSIONS, is_image, nested, walk
from wtflow_jax.support.errors import WTFlowError

STDIN = "-"


def find(arguments: Sequence[str]) -> Iterator[Path]:
    """Yield image files in order, each as its argument gives it.

    Args:
        arguments: directories, of which all images in them and below are meant; files; patterns
            with *, ? or [...], ** for directories at any depth; "-" for a list of paths on
            standard input, one a line.

    Raises:
        WTFlowError: nothing of the name, or no image in it.
    """
    for argument in arguments:
        if argument == STDIN:
            # Bytes: names need not be UTF-8.
            lines = (line.rstrip(b"\r\n") for line in sys.stdin.buffer if line.strip())
            found = (Path(os.fsdecode(line)) for line in lines)
            if (first := next(found, None)) is None:
                raise WTFlowError("standard input: no path in it; give one a line")
            yield first
            yield from found
            continue
        path = Path(argument)
        if path.is_dir():
            found = nested(path)
        elif path.is_file():
            found = iter([path])
        elif glob.has_magic(argument):
            names = sorted(_matches(argument))
            found = (Path(name) for name in names if is_image(Path(name), EXTENSIONS))
        else:
            raise WTFlowError(f"{argument}: no such file or directory")
        first = next(found, None)
        if first is None:
            endings = ", ".join(sorted(ending[1:] for ending in EXTENSIONS))
            raise WTFlowError(f"{argument}: no image in it ({endings})")
        yield first
        yield from found


def _matches(pattern: str) -> set[str]:
    """Return the names that a pattern matches; by ``**`` each directory is entered once."""
    parts = pattern.split("/")
    if "**" not in parts:
        return set(glob.glob(pattern))
    at = parts.index("**")
    head, tail = "/".join(parts[:at]), "/".join(parts[at + 1 :]) or "*"
    # The root and the working directory have no name.
    bases = glob.glob(head) if head else ["/" if at else ""]
    found: set[str] = set()
    for base in bases:
        for directory in walk(Path(base)) if os.path.isdir(base or ".") else ():
            found |= _matches(os.path.join(glob.escape(str(directory)), tail))
    return found
