"""How large is a page of wtflow report, and how soon is it usable?

    wtflow report RUN
    python benchmarks/report.py RUN/report.html

Each round opens the page from disk in a new Chromium. It measures the time from the start of
loading until the decisions of the threshold and all charts of the first row are drawn. Needs
chromium and chromedriver. There is no peer: anomalib writes pictures but no page.
"""

import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--window-size=1280,900"),
)
READY = """
const done = arguments[0];
const wait = () => {
  const charts = [...document.querySelector(".row").querySelectorAll(".chart")];
  const decided = document.querySelector("[data-count=found]")?.textContent !== "";
  if (decided && charts.every((chart) => chart.querySelector("svg"))) done(performance.now());
  else requestAnimationFrame(wait);
};
wait();
"""


@dataclass(frozen=True)
class Settings:
    """What to open."""

    page: Annotated[Path, tyro.conf.Positional]
    """A page of wtflow report."""
    rounds: int = 5
    """Number of rounds."""


def start(chromium: str, driver: str, profile: str) -> webdriver.Chrome:
    """Start a headless browser with its own profile; it records its console messages."""
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    return webdriver.Chrome(options=options, service=Service(driver))


def seconds(page: Path, chromium: str, driver: str) -> float:
    """Return the seconds until a page is usable, in a new browser."""
    with tempfile.TemporaryDirectory() as profile:
        browser = start(chromium, driver, profile)
        try:
            browser.get(page.resolve().as_uri())
            return browser.execute_async_script(READY) / 1000
        finally:
            browser.quit()


def main(settings: Settings) -> int:
    """Open the page in each round, and print its size and times."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        print("error: chromium and chromedriver are not installed", file=sys.stderr)
        return 1
    found = [seconds(settings.page, chromium, driver) for _ in range(settings.rounds)]
    size = settings.page.stat().st_size / 1e6
    print(
        f"{size:.1f} MB; usable after {np.median(found):.2f} s (median), {max(found):.2f} s at most"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Settings, description=__doc__)))
