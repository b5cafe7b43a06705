"""Takes screenshots of reports and pages, and checks that no table or word is cut.

    python docs/screenshots.py --root mvtec_ad --out shots

Fits, evaluates and reports bottle, builds the site, and opens all of it in Chromium. Chromium and
chromedriver must be installed. Takes minutes; an existing model, evaluation or site in ``shots`` is
reused. It prints every table of the site that is wider than its column at 1280 pixels, and every
line broken inside a word at 80 columns. The exit status is 1 if there is any.
"""

import base64
import os
import pty
import re
import shutil
import subprocess
import sys
import termios
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import tyro
from selenium.webdriver import Chrome
from selenium.webdriver.support.ui import WebDriverWait

DOCS = Path(__file__).absolute().parent
sys.path += [str(DOCS), str(DOCS.parent / "benchmarks")]
from pictures import SHOWN  # noqa: E402

from report import start  # noqa: E402

CATEGORY = "bottle"
WIDTHS = 1280, 420
HEIGHT, HIGHEST = 900, 8000
"""Height of a window, and largest height of a picture of a whole page, in pixels."""
COLUMNS, UNBROKEN = 80, 1000
"""Columns of the checked terminal, and of a terminal where no line is broken."""
SITE = {
    "landing": "index.html",
    "results": "results.html",
    "notebook": "linked/notebooks/ring_flow.html",
}
DRAWN = """
return [...document.querySelectorAll(".chart")].every((chart) => chart.querySelector("svg"))
  && [...document.images].every((image) => image.complete || image.loading === "lazy");
"""
TOO_WIDE = """
return [...document.querySelectorAll("article table")].filter((table) => {
  return table.getBoundingClientRect().width > table.parentElement.clientWidth + 1;
}).map((table) => {
  const section = table.closest("section");
  return section?.querySelector("h1, h2, h3, h4")?.firstChild.textContent ?? "no heading";
});
"""
COLOURS, BOXES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]"), re.compile("[\u2500-\u257f]")
"""Escape sequences of a terminal, and characters of boxes."""


@dataclass(frozen=True)
class Settings:
    """Inputs and output."""

    root: Path
    """Directory of MVTec AD."""
    out: Path
    """Directory for the pictures and their inputs."""
    weights: Path | None = None
    """File of ResNet-18 weights; left out: the installed EfficientNet-Lite0 is used."""


def printed(*arguments: str | Path, columns: int = COLUMNS) -> str:
    """Return the output of wtflow on a terminal of ``columns`` columns."""
    ours, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, columns))
    command = [sys.executable, "-m", "wtflow_jax", *map(str, arguments)]
    more = {"COLUMNS": str(columns), "PYTHONPATH": str(DOCS.parent)}
    with subprocess.Popen(command, stdout=terminal, env=os.environ | more) as process:
        os.close(terminal)
        parts = []
        with suppress(OSError):  # At the end, read fails.
            while part := os.read(ours, 65536):
                parts.append(part)
    os.close(ours)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return BOXES.sub(" ", COLOURS.sub("", b"".join(parts).decode()))


def broken(text: str, unbroken: str, columns: int = COLUMNS) -> list[str]:
    """Return the lines that are broken inside a word, by the program or by the terminal.

    Args:
        text: as printed on a terminal of ``columns`` columns.
        unbroken: the same text from a terminal that is wide enough.
        columns: of the terminal.
    """
    words, found = set(_words(unbroken)), []
    for line in text.splitlines():
        line = line.rstrip()
        cuts = range(columns, len(line), columns)
        by_terminal = any(not line[cut - 1].isspace() and not line[cut].isspace() for cut in cuts)
        if by_terminal or set(_words(line)) - words:
            found.append(line)
    return found


def _words(text: str) -> list[str]:
    # Lists of choices may break after commas.
    return re.findall(r"[^\s,]+", text)


@contextmanager
def browser() -> Iterator[Chrome]:
    """Start Chromium with a new profile, and quit it at the end.

    Raises:
        FileNotFoundError: chromium or chromedriver is not installed.
    """
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        raise FileNotFoundError("chromium and chromedriver are not installed")
    with TemporaryDirectory() as profile:
        chrome = start(chromium, driver, profile)
        try:
            chrome.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
            yield chrome
        finally:
            chrome.quit()


def show(chrome: Chrome, page: Path, width: int = WIDTHS[0], dark: bool = False) -> None:
    """Open a page in a window of a given width."""
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    _resize(chrome, width, HEIGHT)
    chrome.get(page.absolute().as_uri())


def shoot(chrome: Chrome, path: Path, whole: bool = True) -> None:
    """Write a PNG file of the window or the whole page, after everything is drawn."""
    for _ in range(2):  # Twice, because drawing makes the page higher.
        if whole:
            size = "return [innerWidth, document.documentElement.scrollHeight]"
            width, height = chrome.execute_script(size)
            _resize(chrome, width, min(height, HIGHEST))
        WebDriverWait(chrome, 60).until(lambda chrome: chrome.execute_script(DRAWN))
    path.write_bytes(base64.b64decode(chrome.get_screenshot_as_base64()))


def _resize(chrome: Chrome, width: int, height: int) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def too_wide(chrome: Chrome, site: Path) -> Iterator[str]:
    """Yield the page and the heading of every table that is wider than its column."""
    for page in sorted(site.rglob("*.html")):
        show(chrome, page)
        for heading in chrome.execute_script(TOO_WIDE):
            yield f"{page.relative_to(site)}: {heading}: a table is wider than its column"


def build(site: Path) -> None:
    """Build the site if it does not exist."""
    if not site.exists():
        command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", str(DOCS), str(site)]
        subprocess.run(command, check=True)


def model(settings: Settings) -> Path:
    """Return a model; fit, evaluate and report it if that is not done yet."""
    made, measured = settings.out / "model", settings.out / "measured"
    good = settings.root / CATEGORY / "train" / "good"
    own = ("--backbone", "resnet18", "--weights", settings.weights) if settings.weights else ()
    if not made.exists():
        printed("fit", good, *own, "--out", made)
    if not measured.exists():
        of = ("--data", "mvtec_ad", "--category", CATEGORY)
        printed("evaluate", made, settings.root, *of, "--out", measured)
    printed("report", measured)
    return made


def texts(settings: Settings, made: Path) -> Iterator[str]:
    """Write output of wtflow to files, and yield the lines that are broken inside a word."""
    found, test = settings.out / "found", settings.root / CATEGORY / "test"
    images = [next(test.glob(f"{name}.*")) for name in SHOWN]
    commands: dict[str, Sequence[str | Path]] = {
        "help": ("--help",),
        "fit-help": ("fit", "--help"),
        "info": ("info", made),
        "predict": ("predict", made, *images, "--out", found),
    }
    for name, command in commands.items():
        both = {}
        for columns in (UNBROKEN, COLUMNS):
            shutil.rmtree(found, ignore_errors=True)
            both[columns] = printed(*command, columns=columns)
        (settings.out / f"{name}.txt").write_text(both[COLUMNS])
        for line in broken(both[COLUMNS], both[UNBROKEN]):
            yield f"{name}.txt: a line is broken inside a word: {line}"


def pages(chrome: Chrome, out: Path) -> None:
    """Take the pictures of the report, of overlays and of the site."""
    report = out / "measured" / "report.html"
    for width in WIDTHS:
        for dark in (False, True):
            show(chrome, report, width, dark)
            shoot(chrome, out / f"report-{width}-{'dark' if dark else 'light'}.png")
    show(chrome, report)
    chrome.find_element("css selector", ".card").click()
    shoot(chrome, out / "dialog.png", whole=False)
    drawn = sorted(path.relative_to(out) for path in (out / "found").rglob("*.png"))
    (out / "overlays.html").write_text("".join(f'<img src="{p}" width="400">' for p in drawn))
    others = {"overlays": "overlays.html"} | {name: f"site/{page}" for name, page in SITE.items()}
    for name, page in others.items():
        show(chrome, out / page)
        shoot(chrome, out / f"{name}.png")


def main(settings: Settings) -> int:
    """Take all pictures, and print the faults found."""
    settings.out.mkdir(parents=True, exist_ok=True)
    faults = list(texts(settings, model(settings)))
    build(settings.out / "site")
    with browser() as chrome:
        pages(chrome, settings.out)
        faults += too_wide(chrome, settings.out / "site")
    print("\n".join([*faults, f"{len(faults)} faults; pictures are in {settings.out}"]))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Settings, description=__doc__)))
