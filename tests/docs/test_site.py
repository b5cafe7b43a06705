"""The documentation site: built offline without warnings, complete, nothing external."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
OFFLINE = """
import socket

def refuse(*address):
    raise OSError(f"the site is built offline, and something asks for {address}")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
"""
FETCHED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}
"""What a browser fetches for a page, by element."""


class Page(HTMLParser):
    """The anchors and links of a page, and the files that a browser loads for it."""

    def __init__(self, path):
        super().__init__()
        self.anchors, self.links, self.fetched = set(), [], []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.anchors.add(attributes.get("id"))
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])
        if attributes.get(FETCHED.get(tag)):
            self.fetched.append(attributes[FETCHED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site."""
    place = tmp_path_factory.mktemp("site")
    (place / "offline").mkdir()
    (place / "offline" / "sitecustomize.py").write_text(OFFLINE)
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    done = subprocess.run(
        [*command, "-d", place / "doctrees", ROOT / "docs", place / "html"],
        env={**os.environ, "PYTHONPATH": str(place / "offline")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return place / "html"


@pytest.fixture(scope="module")
def pages(site):
    """Each page by its path."""
    return {path: Page(path) for path in site.rglob("*.html")}


def test_every_module_is_in_the_api(site, pages):
    anchors = set().union(*(pages[path].anchors for path in (site / "api").glob("*.html")))
    for path in (ROOT / "wtflow_jax").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        assert name == "wtflow_jax" or f"module-{name}" in anchors, f"{name} is in no page"


def test_every_page_and_notebook_is_in_the_site(site):
    found = {path.stem for path in site.rglob("*.html")}
    pages = [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "appendix").glob("*.md")]
    for path in (*pages, *(ROOT / "toy" / "notebooks").glob("*.ipynb")):
        assert path.stem in found


def test_every_internal_link_resolves(pages):
    count = 0
    for path, page in pages.items():
        for link in page.links + page.fetched:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.is_file(), f"{path}: {link}"
            if parts.fragment and target.suffix == ".html":
                assert unquote(parts.fragment) in pages[target].anchors, f"{path}: {link}"
                count += 1
    assert count > 100


def test_a_reader_fetches_nothing_from_elsewhere(site, pages):
    fetched = [link for page in pages.values() for link in page.fetched]
    sheets = [path.read_text() for path in site.rglob("*.css")]
    fetched += [link for sheet in sheets for link in re.findall(r"url\(['\"]?([^)'\"]+)", sheet)]
    fetched += [link for sheet in sheets for link in re.findall(r"@import ['\"]([^'\"]+)", sheet)]
    assert fetched
    for link in fetched:
        assert link.startswith("data:") or not (urlsplit(link).scheme or urlsplit(link).netloc), (
            link
        )
