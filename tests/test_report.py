"""The page of a run, and in a real browser what it does."""

import json
import re
import shutil

import numpy as np
import pytest
import trees
from running import wtflow

from report import start
from wtflow_jax.geometry.radial import Radii
from wtflow_jax.metrics import figures

SCORES = [0.1, 0.3, 0.55, 0.4, 0.7, 0.9]
DEFECTIVE = [False, False, False, True, True, True]
HOSTILE = "</script><img src=x onerror=fail()>&'\n\x1b\udce9.png"


@pytest.fixture
def run(tmp_path):
    """A run of one row with six images, one with a name that would be HTML, one of them gone."""
    names = ["0.png", "1.png", "2.png", HOSTILE, "4.png", "5.png"]
    paths = [trees.write(tmp_path / "images" / n, trees.picture(i)) for i, n in enumerate(names)]
    paths[0].unlink()
    maps = np.random.default_rng(0).uniform(0, 1, (6, 64, 64)).astype(np.float32)
    masks = np.zeros((6, 64, 64), bool)
    masks[3:, 10:20, 30:50] = True
    maps[3:, 10:20, 30:50] += 1
    radii = Radii(np.arange(6), np.linspace(8, 5, 6 * 21).reshape(6, 21), 0.0, 8.0)
    labels = np.array(DEFECTIVE)
    tested = figures.Tested(
        [str(path) for path in paths],
        ["good"] * 3 + ["</script><b>dent"] * 3,
        labels,
        np.ones(6, bool),
        np.array(SCORES, np.float32),
        maps,
        masks,
        radii,
    )
    directory = tmp_path / "run"
    figures.save(directory / "part" / "scores.npz", tested)
    history = [
        {"epoch": i, "loss": 1 / i, "image_auroc": 90 + i, "pixel_auroc": 80 + i}
        for i in range(1, 5)
    ]
    row = {"category": "part", "variant": "", "seed": 0, "scores": "part/scores.npz"}
    row |= {"history": history, "undefined": ["a <reason>"]}
    row |= {"decision": {"threshold": 0.5, "promised": 5.0, "images": 20}}
    results = {
        "experiment": "mvtec",
        "config": {"root": "<root>"},
        "rows": [row],
        "tables": [{"title": "T", "columns": ["a", "b"], "rows": [["x", "1.0"]], "notes": ["n"]}],
    }
    (directory / "results.json").write_text(json.dumps(results))
    return directory


def test_a_page_fetches_nothing_and_escapes_names(run):
    assert wtflow("report", run) == 0
    page = (run / "report.html").read_text()
    assert "<b>dent" not in page
    assert HOSTILE not in page
    assert "<root>" not in page
    assert "&lt;reason&gt;" in page
    # No tag loads anything but what is within the page.
    tags = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.findall(r"(?:src|href)=[\"']?(?!#|data:)", tags)
    assert "Only the map is shown of images: 1;" in page
    assert "0.png: no such file" in page


def test_fewer_pictures_are_said(run, tmp_path):
    out = tmp_path / "few.html"
    assert wtflow("report", run, "--out", out, "--pictures", 2) == 0
    data = json.loads(re.search(r'class="data">(.*?)</script>', out.read_text(), re.DOTALL)[1])
    assert [i for i, image in enumerate(data["images"]) if "pictures" in image] == [0, 5]
    assert "2 of 6 images have pictures" in out.read_text()


def test_what_is_no_run_is_one_line(run, tmp_path, capsys):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "results.json").write_text('{"rows": 3}')
    for directory, words in ((tmp_path, "is no run"), (tmp_path / "bad", "is no results file")):
        assert wtflow("report", directory) == 1
        assert words in capsys.readouterr().err
    (run / "part" / "scores.npz").write_bytes(b"PK")
    assert wtflow("report", run) == 1
    assert "scores.npz: cannot be read" in capsys.readouterr().err
    assert not (run / "report.html").exists()


def test_scores_that_are_no_numbers_are_left_out_and_said(run):
    tested = figures.load(run / "part" / "scores.npz")
    scores = tested.scores.copy()
    scores[1] = np.nan
    figures.save(run / "part" / "scores.npz", tested._replace(scores=scores))
    assert wtflow("report", run) == 0
    page = (run / "report.html").read_text()
    assert "Images whose scores are no numbers: 1," in page
    data = json.loads(re.search(r'class="data">(.*?)</script>', page, re.DOTALL)[1])
    assert len(data["images"]) == 5


@pytest.fixture
def predicted(tmp_path):
    """What predict has written of three images, the last of which could not be scored."""
    directory = tmp_path / "found"
    rows = []
    for i, score in enumerate([0.2, 0.8, None]):
        name = trees.write(tmp_path / "new" / f"{i}.png", trees.picture(i))
        drawn = trees.write(directory / "maps" / f"{i}.png", trees.picture(9 + i))
        row = {"path": str(name), "score": score, "threshold": 0.5, "decision": "", "map": None}
        row |= {"map": str(drawn.relative_to(directory)), "error": None}
        rows.append(row if score else row | {"map": None, "error": "cannot be decoded"})
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    (directory / "predictions.jsonl").write_text(text)
    return directory


def test_predictions_have_a_page(predicted, browser):
    from selenium.webdriver.common.keys import Keys

    assert wtflow("report", predicted) == 0
    browser.get((predicted / "report.html").as_uri())

    def text(selector):
        return browser.find_element("css selector", selector).text

    assert text(".rates") == "1 of 2 called defective"
    browser.find_element("css selector", ".threshold").send_keys(Keys.HOME)
    assert text(".rates") == "2 of 2 called defective"
    assert "Images that could not be scored: 1;" in text(".row")
    assert not browser.find_elements("css selector", ".confusion, .card.wrong")
    assert shown(browser) == [0.8, 0.2]
    assert text(".layer").split() == ["overlay", "image"]
    assert browser.get_log("browser") == []


def test_images_of_one_kind_and_one_score(run):
    """No curve is drawn, and nothing fails."""
    results = json.loads((run / "results.json").read_text())
    tested = figures.load(run / "part" / "scores.npz")
    one = tested._replace(
        labels=np.zeros(6, bool), scores=np.full(6, 0.5, np.float32), masks=None, radii=None
    )
    figures.save(run / "part" / "scores.npz", one)
    results["rows"][0] |= {"history": [], "decision": {}}
    (run / "results.json").write_text(json.dumps(results))
    assert wtflow("report", run) == 0
    page = (run / "report.html").read_text()
    assert re.findall(r'class="chart" data-chart="(.*?)"', page) == ["Scores"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("needs chromium and chromedriver, which are not on this machine")
    started = start(chromium, driver, str(tmp_path_factory.mktemp("profile")))
    yield started
    started.quit()


def counts(browser):
    names = ("passed", "alarms", "missed", "found")
    cells = [browser.find_element("css selector", f"[data-count={name}]") for name in names]
    return dict(zip(names, (int(cell.text) for cell in cells), strict=True))


def expected(threshold):
    above = np.array(SCORES) > threshold
    bad = np.array(DEFECTIVE)
    pairs = {"passed": ~bad & ~above, "alarms": ~bad & above, "missed": bad & ~above}
    return {k: int(v.sum()) for k, v in (pairs | {"found": bad & above}).items()}


def threshold(browser):
    return float(browser.find_element("css selector", ".slider output").text)


def shown(browser):
    return [float(e.text) for e in browser.find_elements("css selector", ".card strong")]


def test_in_a_browser(run, browser):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import Select, WebDriverWait

    def find(selector):
        return browser.find_element("css selector", selector)

    assert wtflow("report", run) == 0
    browser.get((run / "report.html").as_uri())
    charts = len(browser.find_elements("css selector", ".chart"))
    assert charts == 7
    WebDriverWait(browser, 20).until(
        lambda b: len(b.find_elements("css selector", ".chart svg")) == charts
    )
    # The threshold: where it starts, by keys, and back.
    assert threshold(browser) == 0.5
    assert counts(browser) == expected(0.5) == {"passed": 2, "alarms": 1, "missed": 1, "found": 2}
    slider = find(".threshold")
    slider.send_keys(Keys.HOME)
    assert counts(browser) == expected(-1)
    slider.send_keys(Keys.END)
    assert counts(browser) == expected(2)
    find(".reset").click()
    assert counts(browser) == expected(0.5)
    # By dragging in the histogram.
    chart = find("[data-chart=Scores] svg")
    ActionChains(browser).move_to_element(chart).click_and_hold().move_by_offset(60, 0).perform()
    first = threshold(browser)
    ActionChains(browser).move_by_offset(40, 0).release().perform()
    assert 0.5 < first < threshold(browser)
    assert counts(browser) == expected(threshold(browser))
    find(".reset").click()
    # Sorting and filters.
    select = {name: Select(find(f".{name}")) for name in ("sort", "filter", "layer")}
    assert shown(browser) == pytest.approx(sorted(SCORES, reverse=True))
    select["sort"].select_by_value("ascending")
    assert shown(browser) == pytest.approx(sorted(SCORES))
    select["filter"].select_by_value("wrong")
    assert shown(browser) == pytest.approx([0.4, 0.55])
    select["filter"].select_by_value("all")
    # Pictures: those that are there load, and what is gone is said.
    for layer in ("image", "mask", "map", "overlay"):
        select["layer"].select_by_visible_text(layer)
        script = "return [...document.querySelectorAll('.card img')].map(i => i.decode())"
        browser.execute_async_script(f"Promise.all((() => {{{script}}})()).then(arguments[0])")
        empty = browser.find_elements("css selector", ".card .empty")
        assert [e.text for e in empty] == (["not there"] if layer == "image" else [])
    # A card by the keyboard alone: open, go on, close.
    find(".card").send_keys(Keys.ENTER)
    dialog = find("dialog")
    assert dialog.is_displayed()
    assert len(dialog.find_elements("css selector", "figure")) == 4
    name = find("dialog h3").text
    dialog.send_keys(Keys.ARROW_RIGHT)
    assert find("dialog h3").text != name
    dialog.send_keys(Keys.ESCAPE)
    WebDriverWait(browser, 5).until(lambda b: not dialog.is_displayed())
    # Light and dark.
    paint = "return getComputedStyle(document.body).backgroundColor"
    before = browser.execute_script(paint)
    find("#theme").click()
    assert browser.execute_script(paint) != before
    find("#theme").click()
    assert browser.execute_script(paint) == before
    fetched = browser.execute_script(
        "return performance.getEntriesByType('resource').map(e => e.name)"
        ".filter(name => !name.startsWith('data:'))"
    )
    assert fetched == []
    assert browser.get_log("browser") == []


def test_a_run_that_ended_before_its_first_row(run):
    results = json.loads((run / "results.json").read_text()) | {"rows": []}
    (run / "results.json").write_text(json.dumps(results))
    assert wtflow("report", run) == 0
    assert 'class="row"' not in (run / "report.html").read_text()
