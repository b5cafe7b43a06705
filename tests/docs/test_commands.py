"""Every command of README.md, CONTRIBUTING.md and docs/, as it stands, on small data.

What stands for a user's own files is there under the same names, made up; runs are made short by
flags that are added. The commands of a page are run in one directory, in order (long); made short,
a script is the same run each time, and runs once. That flags exist is looked at for all.
"""

import importlib.util
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path

import jax
import numpy as np
import pytest
import trees
from running import load, wtflow
from safetensors.numpy import save_file

from wtflow_jax.app import commands as app
from wtflow_jax.backbones import resnet

ROOT = Path(__file__).parents[2]
DOCS = [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "appendix").glob("*.md")]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS)]
# Its commands need its files: test_extending.py runs them.
PAGES.remove(ROOT / "docs" / "extending.md")
# What asks for no other network gets the one that is compiled in seconds.
FLAGS = "--smoke --epochs 1 --seeds 1 --cache cache --models models --velocity patch"
ONE = f"{FLAGS} --categories bottle"
SHORT = {
    "wtflow fit": "--image-size 96",
    "experiments": ONE,
    **dict.fromkeys(("experiments/mvtec.py", "experiments/mvtec3d.py"), FLAGS),
    "experiments/folder.py": FLAGS,
    "experiments/solver_steps.py": f"{ONE} --start 0",
    "toy": "--smoke",
    "benchmarks/unet.py": "--width 8 --channels 8 --rounds 1 --repeats 1",
    "benchmarks/solver.py": "--width 8 --channels 8 --rounds 1 --repeats 1",
    "benchmarks/exact_field.py": "--patches 200 --channels 8 --positions 4 --rounds 1 --repeats 1",
    "benchmarks/closed_forms.py": "--train 4 --test 2 --side 4 --channels 8 --rounds 1",
    "benchmarks/gpu.py": "--cpu --parts card exact",
    "benchmarks/field.py": "--images 8 --probes 2 --cases grey",
    "benchmarks/accuracy.py": "--sizes 64 --images 3",
    "benchmarks/metrics.py": "--images 4 --peer-images 2 --size 32 --rounds 1",
    "benchmarks/predict.py": "--rounds 1",
    "benchmarks/report.py": "--rounds 1",
    "benchmarks/exported.py": "--rounds 1 --batch 2",
    "benchmarks/fuzz.py": "--seconds 1",
    "benchmarks/rounding.py": "--categories bottle --size 64 --images 6 --bits TF32 --methods auto",
}
"""What is added to a command, by its script, its directory or its first words."""
ELSEWHERE = {
    "--peer-python": "needs an environment with anomalib",
    "srun ": "needs SLURM",
    "--mesh": "is run by test_sharding.py, on simulated devices",
    "sweep.py": "is run by test_sweep.py",
    "git clone": "would need the network",
    "gpu_compile.py": "needs jax[cuda12]; what it reads is tested in test_compiled_programs.py",
    "-m venv": "is what this is run in",
    "activate": "is what this is run in",
    "cd ": "goes nowhere",
    "pytest": "is what this is run by",
    ".onnx": "is run by test_export.py, which installs jax2onnx",
    "kills.py": "takes minutes; its harness is run by test_killed.py",
    "shares.py": "compiles six networks",
    "growth.py": "takes minutes; what memory does over categories is looked at by test_memory.py",
    "--atheris": "needs atheris",
    "jupytext": "is run by test_notebooks.py",
    "sphinx-build": "is run by test_site.py",
    "--backbone dino": "needs its weights; a small one is fitted by test_fit.py",
    "WTFLOW_PARTS=": "is run by test_extending.py",
}
"""Why a command is not run here, by a part of it."""
if not (shutil.which("chromium") and shutil.which("chromedriver")):
    ELSEWHERE["benchmarks/report.py"] = "needs chromium and chromedriver"
if not importlib.util.find_spec("torch"):
    needing = "benchmarks/unet.py", "benchmarks/exact_field.py", "pyright"
    ELSEWHERE |= dict.fromkeys(needing, "needs torch")
if f"\nnumpy=={np.__version__}\n" not in (ROOT / "constraints.txt").read_text():
    ELSEWHERE["pyright"] = "checks types with the versions of constraints.txt"
TESTED = "exact_field", "geometry", "pooling", "radial", "velocities", "ablation_target"
TESTED += "family", "learned", "narrow", "rules"
"""Experiments that test_questions.py and test_experiment.py run, and README's all.py."""
STATUS = {"python -m wtflow_jax.datasets check": 1}
"""Where a command should not end in 0: our few images are not the published ones."""


def commands(text):
    """Return the commands of a page, in order."""
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    parts = [part.strip() for line in lines for part in line.split(" && ")]
    return [part for part in parts if shlex.split(part, comments=True)]


COMMANDS = {page: commands(page.read_text()) for page in PAGES}


def test_no_page_has_commands_of_another_kind():
    for page in PAGES:
        words = set(re.findall(r"^```(\w+)", page.read_text(), re.M))
        assert words <= {"bash", "python", "text", "yaml", "bibtex"}, page


def random_resnet(name):
    """Random weights by torchvision's names, as with batch norms that are folded."""
    net, draw = resnet.ARCHITECTURES[name], np.random.default_rng(0)
    shapes, before = {"conv1": (64, 3, 7, 7)}, 64
    for stage, (count, after) in enumerate(zip(net.blocks, net.channels, strict=True)):
        inner = net.inner[stage] if net.inner else after
        for index in range(count):
            if net.inner:
                block = {"conv1": (inner, before, 1, 1), "conv2": (inner, inner, 3, 3)}
                block["conv3"] = (after, inner, 1, 1)
            else:
                block = {"conv1": (after, before, 3, 3), "conv2": (after, after, 3, 3)}
            if before != after:
                block["downsample.0"] = (after, before, 1, 1)
            shapes |= {f"layer{stage + 1}.{index}.{conv}": of for conv, of in block.items()}
            before = after
    state = {}
    for conv, shape in shapes.items():
        kernel = draw.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape)
        state[f"{conv}.weight"] = kernel.astype(np.float32)
        state[f"{conv}.bias"] = np.zeros(shape[0], np.float32)
    return state


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """Random weights of each ResNet, in a directory."""
    directory = tmp_path_factory.mktemp("weights")
    for name in resnet.ARCHITECTURES:
        save_file(random_resnet(name), directory / f"{name}.safetensors")
    return directory


@pytest.fixture(scope="session")
def kept(tmp_path_factory):
    """Features and trained models, shared by all pages."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A fitted one."""
    place = tmp_path_factory.mktemp("model")
    for i in range(6):
        trees.write(place / "good" / f"{i}.png", trees.picture(i))
    flags = "--out", str(place / "model"), *shlex.split(SHORT["wtflow fit"])
    assert wtflow("fit", place / "good", *flags) == 0
    return place / "model"


@pytest.fixture
def place(tmp_path, weights, model, kept, monkeypatch):
    """Every file that the pages name, in the working directory."""
    # As many images of each, so that one compiled program serves them all.
    many = {"train": 12, "good": 3, "bad": 3}
    for root in ("mvtec_ad", "path/to/mvtec_ad", "data"):
        trees.mvtec_ad(tmp_path / root, "bottle", **many)
    trees.mvtec_ad(tmp_path / "mvtec_ad", "cable", **many)
    trees.mvtec_ad(tmp_path / "data", "screw", **many)
    for root in ("mvtec_3d", "data"):
        trees.mvtec_3d(tmp_path / root, "tire", **many)
    for i in range(4):
        image, mask = trees.defect(i)
        trees.write(tmp_path / "labelled" / "good" / f"{i}.png", trees.picture(80 + i))
        trees.write(tmp_path / "labelled" / "dent" / f"{i}.png", image)
        trees.write(tmp_path / "labelled" / "masks" / "dent" / f"{i}.png", mask)
    for root in ("path/to/images", "path/to", "photos"):
        for i in range(6):
            trees.write(tmp_path / root / "good" / f"{i}.png", trees.picture(i))
            trees.write(tmp_path / root / "new" / f"{i}.png", trees.picture(60 + i))
    (tmp_path / "weights").symlink_to(weights)
    (tmp_path / "resnet18.safetensors").symlink_to(weights / "resnet18.safetensors")
    for name in ("cache", "models"):
        (kept / name).mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(kept / name)
    shutil.copytree(model, tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    # What a command has compiled stays with the tests.
    monkeypatch.setattr("wtflow_jax.support.compilation.keep", lambda directory: None)
    yield tmp_path
    jax.clear_caches()


def in_process(run, arguments, monkeypatch):
    """Run a script or module as Python would, and return its exit status."""
    monkeypatch.setattr(sys, "argv", arguments)
    try:
        run()
    except SystemExit as end:
        return end.code or 0
    return 0


def install(words):
    """Check the extras that are asked for: they are installed by the README's test command."""
    known = set(metadata("wtflow-jax").get_all("Provides-Extra") or [])
    for extras in re.findall(r"\[([\w,]+)\]", " ".join(words)):
        assert set(extras.split(",")) <= known
    if "-c" in words:
        assert (ROOT / words[words.index("-c") + 1]).is_file()
    return 0


def execute(words, monkeypatch):
    """Run a command and return its exit status."""
    match words:
        case ["pip", "install", *rest]:
            return install(rest)
        case ["wtflow", *rest]:
            return wtflow(*rest, *shlex.split(SHORT.get(" ".join(words[:2]), "")))
        case ["python", "-m", module, *rest]:
            run = lambda: runpy.run_module(module, run_name="__main__", alter_sys=True)  # noqa: E731
            return in_process(run, [module, *rest], monkeypatch)
        case ["python", script, *rest]:
            path = ROOT / script
            rest += shlex.split(SHORT.get(script, SHORT.get(path.parent.name, "")))
            if path.parent.name == "benchmarks":
                # It starts its peers by its own command; how fast they are is not looked at.
                command = [sys.executable, str(path), *rest]
                quick = os.environ | {"XLA_FLAGS": "--xla_backend_optimization_level=0"}
                return subprocess.run(command, env=quick, check=False).returncode
            run = lambda: runpy.run_path(str(path), run_name="__main__")  # noqa: E731
            return in_process(run, [str(path), *rest], monkeypatch)
        case ["ruff" | "pyright" | "sphinx-build", *_]:
            return subprocess.run(words, cwd=ROOT, check=False).returncode
    raise AssertionError(f"do not know how to run {words}")


def reason(command):
    """Return why a command is not run here; None if it is run."""
    return next((why for part, why in ELSEWHERE.items() if part in command), None)


def expanded(page):
    """Return the commands of a page, its variables in place."""
    variables, found = {}, []
    for command in COMMANDS[page]:
        for name, value in variables.items():
            command = command.replace(f"${name}", value)
        if assigned := re.fullmatch(r'(\w+)="(.*)"', command):
            variables[assigned[1]] = assigned[2]
        else:
            found.append(command)
    return found


SOME = [page for page in PAGES if COMMANDS[page]]


@pytest.mark.parametrize("page", SOME, ids=lambda page: page.stem)
def test_flags_exist(page, monkeypatch):
    monkeypatch.setattr(app, "_execute", lambda asked: 0)
    for command in expanded(page):
        match shlex.split(command, comments=True):
            case ["wtflow", *flags]:
                assert wtflow(*flags) == 0
            case ["python", script, *flags] if script.startswith("experiments/"):
                if (name := Path(script).stem) not in ("all", "sweep", "document"):
                    load(name).parse(flags)
            case ["python", script, *_]:
                assert script == "-m" or (ROOT / script).is_file(), command


@pytest.fixture(scope="session")
def run():
    """Scripts that were run before, on this page or on another."""
    return {f"experiments/{name}.py" for name in TESTED}


EACH = [pytest.param(page, marks=pytest.mark.long, id=page.stem) for page in SOME]


@pytest.mark.parametrize("page", EACH)
def test_commands_run(page, place, run, monkeypatch):
    for command in expanded(page):
        words = shlex.split(command, comments=True)
        if reason(command):
            continue
        if words[0] == "python" and words[1] != "-m":
            if words[1] in run:
                continue
            run.add(words[1])
        assert execute(words, monkeypatch) == STATUS.get(" ".join(words[:4]), 0), command


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", dict.fromkeys(c for page in PAGES for c in COMMANDS[page] if reason(c))
)
def test_not_run_here(command):
    pytest.skip(reason(command))
