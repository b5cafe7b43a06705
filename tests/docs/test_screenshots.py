"""The checks of screenshots find tables that are too wide and broken words."""

import importlib.util
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "docs" / "screenshots.py"
spec = importlib.util.spec_from_file_location("screenshots", FILE)
screenshots = importlib.util.module_from_spec(spec)
spec.loader.exec_module(screenshots)

PAGE = """<!doctype html><article><section><h2>{heading}</h2>
<div style="width: 300px"><table><tr><td style="min-width: {width}px">a</table></div>
</section></article>"""


def test_words_that_are_broken():
    whole = "one two three four five\n{a,b,c}"
    assert screenshots.broken("one two\nthree four\nfive\n{a,\nb,c}", whole, 10) == []
    # By the program, and by the terminal.
    assert screenshots.broken("one two th\nree", whole, 10) == ["one two th", "ree"]
    assert screenshots.broken("one two three four five", whole, 10) == ["one two three four five"]
    assert screenshots.broken("one two three", whole, 8) == []


@pytest.fixture(scope="module")
def chrome():
    try:
        with screenshots.browser() as started:
            yield started
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.mark.slow
def test_tables_that_are_too_wide(tmp_path, chrome):
    for name, width in (("narrow", 200), ("wide", 400)):
        page = PAGE.format(heading=f"A {name} one", width=width)
        (tmp_path / f"{name}.html").write_text(page)
    (found,) = screenshots.too_wide(chrome, tmp_path)
    assert found.startswith("wide.html: A wide one:")


@pytest.mark.slow
def test_a_picture_is_as_high_as_the_page(tmp_path, chrome):
    from PIL import Image

    (tmp_path / "page.html").write_text('<body style="margin: 0; height: 1234px">')
    screenshots.show(chrome, tmp_path / "page.html", 420, dark=True)
    screenshots.shoot(chrome, tmp_path / "page.png")
    with Image.open(tmp_path / "page.png") as picture:
        assert picture.size == (420, 1234)


@pytest.mark.slow
def test_no_help_is_broken_inside_a_word():
    for command in ((), ("fit",), ("predict",), ("evaluate",), ("report",)):
        both = [
            screenshots.printed(*command, "--help", columns=columns)
            for columns in (screenshots.COLUMNS, screenshots.UNBROKEN)
        ]
        assert screenshots.broken(*both) == []
