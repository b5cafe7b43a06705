"""The page of a run, as text and in a real browser."""

import contextlib
import functools
import json
import re
import shutil

import numpy as np
import pytest
import rubbish
import trees
import vl_convert
from raising import fails

from report import start
from wtflow_jax.app.report import charts, page
from wtflow_jax.geometry.radial import Radii
from wtflow_jax.lab import scored
from wtflow_jax.lab.scored import Scored
from wtflow_jax.support.errors import WTFlowError

SCORES = [0.1, 0.3, 0.55, 0.4, 0.7, 0.9]
DEFECTIVE = [False, False, False, True, True, True]
HOSTILE = "</script><img src=x onerror=fail()>&'\n\x1b\udce9.png"


LIBRARY = functools.cache(vl_convert.javascript_bundle)


@pytest.fixture(autouse=True)
def library_once(monkeypatch):
    """It is large, so all tests share it."""
    monkeypatch.setattr(vl_convert, "javascript_bundle", LIBRARY)


@pytest.fixture
def run(tmp_path):
    """A run of one row with six images; one name contains HTML, one file is missing."""
    names = ["0.png", "1.png", "2.png", HOSTILE, "4.png", "5.png"]
    paths = [trees.write(tmp_path / "images" / n, trees.picture(i)) for i, n in enumerate(names)]
    paths[0].unlink()
    maps = np.random.default_rng(0).uniform(0, 1, (6, 64, 64)).astype(np.float32)
    masks = np.zeros((6, 64, 64), bool)
    masks[3:, 10:20, 30:50] = True
    maps[3:, 10:20, 30:50] += 1
    radii = Radii(np.arange(6), np.linspace(8, 5, 6 * 21).reshape(6, 21), 0.0, 8.0)
    labels = np.array(DEFECTIVE)
    tested = Scored(
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
    scored.save(directory / "part" / "scores.npz", tested)
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


def written(run, most=200):
    """Write a run's page and return its text."""
    page.write(run, most)
    return (run / "report.html").read_text()


def data(text):
    """Return the data passed to the scripts of a page's first row."""
    return json.loads(re.search(r'class="data">(.*?)</script>', text, re.DOTALL)[1])


def test_a_page_fetches_nothing_and_escapes_names(run):
    text = written(run)
    assert "<b>dent" not in text
    assert HOSTILE not in text
    assert "<root>" not in text
    assert "&lt;reason&gt;" in text
    # No tag loads anything from outside the page.
    tags = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert not re.findall(r"(?:src|href)=[\"']?(?!#|data:)", tags)
    assert "Images shown as a map only: 1;" in text
    assert "0.png: no such file" in text


def test_fewer_pictures_are_said(run):
    text = written(run, most=2)
    assert [i for i, image in enumerate(data(text)["images"]) if "pictures" in image] == [0, 5]
    assert "2 of 6 images have pictures" in text


def test_charts_are_those_of_what_is_known(run):
    found = data(written(run))
    assert list(found["charts"]) == [
        *("Scores", "ROC", "Precision and recall", "Per-region overlap (PRO)"),
        *("Radius on the way", "Loss", "AUROC by epoch"),
    ]
    assert found["layers"] == ["overlay", "image", "map", "mask"]
    assert found["threshold"] == 0.5
    bars = found["charts"]["Scores"]["values"]
    assert sum(bar["count"] for bar in bars if bar["of"] == "good") == 3


def test_what_is_no_run_is_one_line(run, tmp_path):
    with fails("is not a run"):
        written(tmp_path)
    bad = tmp_path / "bad" / "results.json"
    bad.parent.mkdir()
    texts = ("", "{", '{"rows": 3}', "[]", '{"experiment": "a", "config": {}, "rows": [{}]}')
    for text in (*texts, '{"experiment": "a", "config": 3, "rows": []}'):
        bad.write_text(text)
        with fails("bad/results.json: is not a results file"):
            written(bad.parent)
    (run / "part" / "scores.npz").write_bytes(b"PK")
    with fails("scores.npz: cannot be read"):
        written(run)
    assert not (run / "report.html").exists()


def test_altered_results_have_a_page_or_are_one_line(run):
    results = json.loads((run / "results.json").read_text())
    results["rows"][0]["history"] = results["rows"][0]["history"][:1]
    for other in [*rubbish.altered(results)][::7]:
        (run / "results.json").write_text(json.dumps(other))
        (run / "report.html").unlink(missing_ok=True)
        with contextlib.suppress(WTFlowError):
            written(run, most=1)


def test_a_page_replaces_pages_alone(run):
    for _ in range(2):
        written(run)
    (run / page.PAGE).write_text("mine")
    with fails("report.html: exists and was not written by report; move it"):
        page.write(run, 1)
    assert (run / page.PAGE).read_text() == "mine"


def test_progress_is_of_rows(run):
    done = []

    def track(what, total):
        done.append((what, total))
        return lambda count=1, note=None: done.append(count)

    page.write(run, 1, track)
    assert done == [("rows", 1), 1]


def test_scores_that_are_no_numbers_are_one_line(run):
    tested = scored.load(run / "part" / "scores.npz")
    scores = tested.scores.copy()
    scores[1] = np.nan
    scored.save(run / "part" / "scores.npz", tested._replace(scores=scores))
    with fails("scores.npz: cannot be read .scores are NaN or infinite.; run it again"):
        written(run)


@pytest.fixture
def predicted(tmp_path):
    """The output of predict for three images; the last could not be scored."""
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


def test_predictions_have_a_page(predicted):
    text = written(predicted)
    found = data(text)
    assert [image["score"] for image in found["images"]] == [0.2, 0.8]
    assert {image["defective"] for image in found["images"]} == {None}
    assert (found["layers"], found["threshold"]) == (["overlay", "image"], 0.5)
    assert list(found["charts"]) == ["Scores"]
    assert "Images that could not be scored: 1;" in text


def test_what_are_no_predictions_is_one_line(predicted):
    rows = (predicted / "predictions.jsonl").read_text()
    for text in ("nothing\n", "{}\n", rows.replace("0.2", "null")):
        (predicted / "predictions.jsonl").write_text(text)
        with fails("predictions.jsonl: is not a results file"):
            written(predicted)
    # Maps are images, and no program is started for one.
    (predicted / "predictions.jsonl").write_text(rows)
    (predicted / "maps" / "0.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n")
    with fails("0.png", "none of the formats"):
        written(predicted)


@pytest.mark.slow
def test_predictions_in_a_browser(predicted, browser):
    from selenium.webdriver.common.keys import Keys

    written(predicted)
    browser.get((predicted / "report.html").as_uri())

    def text(selector):
        return browser.find_element("css selector", selector).text

    assert text(".verdict") == "1 of 2 called defective"
    browser.find_element("css selector", ".threshold").send_keys(Keys.HOME)
    assert text(".verdict") == "2 of 2 called defective"
    assert text(".moved").startswith("Moved from 0.50000, dashed in the histogram.")
    assert re.search(r"wtflow predict MODEL IMAGES --out DIR --threshold [0-9.]+", text(".moved"))
    assert "Images that could not be scored: 1;" in text(".row")
    assert not browser.find_elements("css selector", ".confusion, .miss, .alarm")
    assert shown(browser) == [0.8, 0.2]
    assert text(".layer").split() == ["overlay", "image"]
    assert browser.get_log("browser") == []


def test_images_of_one_kind_and_one_score(run):
    """No curve is drawn, and nothing fails."""
    results = json.loads((run / "results.json").read_text())
    tested = scored.load(run / "part" / "scores.npz")
    one = tested._replace(
        labels=np.zeros(6, bool), scores=np.full(6, 0.5, np.float32), masks=None, radii=None
    )
    scored.save(run / "part" / "scores.npz", one)
    results["rows"][0] |= {"history": [], "decision": {}}
    (run / "results.json").write_text(json.dumps(results))
    text = written(run)
    assert re.findall(r'class="chart" data-chart="(.*?)"', text) == ["Scores"]
    assert data(text)["threshold"] is None
    assert "No threshold is set" in text


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
    return [float(e.text) for e in browser.find_elements("css selector", ".card .score")]


@pytest.mark.slow
def test_in_a_browser(run, browser):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import Select, WebDriverWait

    def find(selector):
        return browser.find_element("css selector", selector)

    written(run)
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
    assert not find(".moved").is_displayed()
    # From score to score, by the arrow keys.
    body = find("body")
    for key in (Keys.ARROW_RIGHT, Keys.ARROW_LEFT, Keys.ARROW_LEFT):
        before = counts(browser)
        body.send_keys(key)
        assert counts(browser) == expected(threshold(browser)) != before
        assert min(abs(threshold(browser) - s) for s in SCORES) > 0.01
    find(".reset").click()
    # Sorting and filters.
    select = {name: Select(find(f".{name}")) for name in ("sort", "filter", "layer")}
    assert shown(browser) == pytest.approx(sorted(SCORES, reverse=True))
    select["sort"].select_by_value("ascending")
    assert shown(browser) == pytest.approx(sorted(SCORES))
    select["filter"].select_by_value("wrong")
    assert shown(browser) == pytest.approx([0.4, 0.55])
    cards = browser.find_elements("css selector", ".card")
    assert [card.get_attribute("class") for card in cards] == ["card miss", "card alarm"]
    assert [find(f".{kind} .called").text for kind in ("miss", "alarm")] == [
        "missed",
        "false alarm",
    ]
    find(".threshold").send_keys(Keys.END)
    select["filter"].select_by_value("above")
    assert find(".gallery").text.startswith("No picture of “called defective” at this")
    find(".reset").click()
    select["filter"].select_by_value("all")
    # Pictures: existing files load, missing ones are reported.
    for layer in ("image", "mask", "map", "overlay"):
        select["layer"].select_by_visible_text(layer)
        script = "return [...document.querySelectorAll('.card img')].map(i => i.decode())"
        browser.execute_async_script(f"Promise.all((() => {{{script}}})()).then(arguments[0])")
        empty = browser.find_elements("css selector", ".card .empty")
        assert [e.text for e in empty] == (["file is gone"] if layer == "image" else [])
    # A card by the keyboard alone: open, go on, close.
    find(".card").send_keys(Keys.ENTER)
    dialog = find("dialog")
    assert dialog.is_displayed()
    assert len(dialog.find_elements("css selector", "figure")) == 4
    name = find("dialog h3").text
    dialog.send_keys(Keys.ARROW_RIGHT)
    assert find("dialog h3").text != name
    # A click zooms in, and marks the same place in every picture.
    assert find("dialog .note").text.endswith("2 of 6")
    find("dialog .frame").click()
    frames = browser.find_elements("css selector", ".zoomed .frame img")
    assert len(frames) == 4

    def origins(browser):
        found = (frame.value_of_css_property("transform-origin") for frame in frames)
        return {tuple(round(float(x[:-2])) for x in origin.split()) for origin in found}

    WebDriverWait(browser, 5).until(lambda browser: len(origins(browser)) == 1)
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
    text = written(run)
    assert 'class="row"' not in text
    assert "This run has no rows yet. Run it again" in text


def test_predictions_without_a_score_say_what_to_do(predicted):
    lines = (predicted / "predictions.jsonl").read_text().splitlines(keepends=True)
    (predicted / "predictions.jsonl").write_text(lines[-1])
    text = written(predicted)
    assert 'class="decide"' not in text
    assert "No image has a score. predictions.jsonl says why" in text


def test_a_threshold_that_evaluate_was_given_says_so(run):
    results = json.loads((run / "results.json").read_text())
    results["experiment"], results["config"] = "evaluate", {"root": "parts/test"}
    results["rows"][0]["decision"] |= {"own": 0.6}
    results["rows"][0] |= {"category": "test", "variant": None}
    del results["rows"][0]["seed"]
    (run / "results.json").write_text(json.dumps(results))
    text = written(run)
    assert "<h1>Evaluation on 6 images of parts/test</h1>" in text
    assert "in place of the model&#39;s own 0.6 (dashed in the histogram)" in text
    assert (data(text)["threshold"], data(text)["own"]) == (0.5, 0.6)


def test_radii_that_leave_the_scale_are_said():
    values = np.stack([np.linspace(8, end, 21) for end in (7, 8, 800)])
    radii = Radii(np.arange(3), values, 0.0, 8.0)
    found = charts.radial(radii, np.array([False, False, True]), "the velocity gaussian")
    assert found["top"] == 16
    assert "2 good and 1 defective images under the velocity gaussian" in found["caption"]
    assert "√D = 8" in found["caption"]
    assert found["caption"].endswith("Values outside the scale reach 100 √D.")
    near = charts.radial(radii._replace(values=values.clip(max=9)), np.zeros(3, bool), "x")
    assert near["names"] == ["good"]
    assert "outside the scale" not in near["caption"]
