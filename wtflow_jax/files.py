"""Which image files a command line means."""

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from wtflow_jax.datasets.files import EXTENSIONS, is_image, nested
from wtflow_jax.errors import WTFlowError

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
            names = sorted(glob.iglob(argument, recursive=True))
            found = (Path(name) for name in names if is_image(Path(name), EXTENSIONS))
        else:
            raise WTFlowError(f"{argument}: no such file or directory")
        first = next(found, None)
        if first is None:
            endings = ", ".join(sorted(ending[1:] for ending in EXTENSIONS))
            raise WTFlowError(f"{argument}: no image in it ({endings})")
        yield first
        yield from found
