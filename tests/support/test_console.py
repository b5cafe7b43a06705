"""The output of a command: tables, progress bars, and its exit."""

import io
import signal
import warnings

import pytest
from rich.console import Console

from wtflow_jax.support import console
from wtflow_jax.support.errors import WTFlowError, WTFlowWarning

SMALL = console.Table("Title", ["name", "first", "second"], [["a", "1.00", "2.00"]], ["Note."])


def test_markdown():
    assert console.markdown(SMALL) == (
        "**Title**\n\n| name | first | second |\n| --- | ---: | ---: |\n| a | 1.00 | 2.00 |"
        "\n\nNote.\n"
    )


def shown(table, **options):
    out = io.StringIO()
    console.show(table, Console(file=out, **options))
    return out.getvalue()


@pytest.mark.parametrize(("width", "last"), [(80, "second"), (22, "first")])
def test_a_narrow_terminal_shows_whole_columns(width, last):
    text = shown(SMALL, width=width, force_terminal=True, color_system=None)
    assert last in text
    assert ("second" in text) == (width == 80)
    assert ("1 more columns are in" in text) == (width == 22)
    assert "…" not in text


def test_what_nobody_looks_at_is_whole():
    assert "second" in shown(SMALL, width=10)


def test_lines_are_broken_between_words_on_a_terminal_alone(monkeypatch, capsys):
    lines = "one two three --false-alarms", "a/very/long/path"
    console.say(*lines)
    assert capsys.readouterr().out.splitlines() == [*lines]
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "10")
    console.say(*lines)
    found = ["one two", "three", "--false-alarms", "a/very/long/path"]
    assert capsys.readouterr().out.splitlines() == found


def test_names_are_no_markup():
    text = shown(console.Table("[b]", ["a [red]"], [["[/x]"]], ["[y]"]))
    assert all(word in text for word in ("[b]", "a [red]", "[/x]", "[y]"))


def test_numbers():
    assert console.number(98.049) == "98.05"
    assert console.number(98.049, 0.012) == "98.05 ± 0.01"
    assert console.number(None) == console.difference(1.0, None) == "–"
    assert console.difference(99.0, 100.0) == "-1.00"


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_goes_to_standard_error(terminal, capsys, monkeypatch):
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TTY_COMPATIBLE", "1")
    with console.bars() as track:
        advance = track("[b] images", 3)
        advance(2, "half")
        advance()
        track("of unknown length", None)(5)
    out, err = capsys.readouterr()
    assert out == ""
    assert "[b] images" in err
    assert "3/3" in err
    assert (err == "[b] images: 3/3, half, 0 s\nof unknown length: 5, 0 s\n") == (not terminal)
    console.untracked("nothing", 3)(2, "is shown")


def test_long_work_is_told_of_now_and_then_in_a_file(capsys, monkeypatch):
    monkeypatch.setattr(console, "OFTEN", -1.0)
    with console.bars() as track:
        advance = track("images", 3)
        advance()
        advance(1, "slow")
        advance(0)
    lines = [line.rpartition(",")[0] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["images: 1/3", "images: 2/3, slow", "images: 2/3, slow", "images: 2/3, slow"]


def work(error):
    def raises():
        raise error

    return raises


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (WTFlowError("a\nb: bad; mend it"), 1, "error: a\\nb: bad; mend it\n"),
        (
            OSError(28, "No space left on device", "x"),
            1,
            "error: x: No space left on device; move\n",
        ),
        (KeyboardInterrupt(), 130, "stopped; go on\n"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_command_ends_in_one_line(error, status, told, capfd):
    assert console.status(work(error), again="go on", advice="move") == status
    assert capfd.readouterr().err == told


def test_a_command_that_is_done_returns_its_status_and_a_bug_its_traceback():
    assert console.status(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        console.status(lambda: 1 // 0)


def test_a_command_within_another_answers_for_itself():
    def inner():
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("is not reached")

    def outer():
        assert console.status(inner) == 143
        return 0

    before = signal.getsignal(signal.SIGINT)
    assert console.status(outer) == 0
    assert signal.getsignal(signal.SIGINT) is before


def test_a_warning_is_one_line_and_others_stay_as_they_are(capfd):
    def doubts():
        for _ in range(2):
            warnings.warn("a\nb: may be wrong; look", WTFlowWarning, stacklevel=1)
        warnings.warn("of something else", UserWarning, stacklevel=1)
        return 0

    before = warnings.showwarning
    with pytest.warns(UserWarning, match="of something else"):
        assert console.status(doubts) == 0
    assert warnings.showwarning is before
    assert capfd.readouterr().err == 2 * "warning: a\\nb: may be wrong; look\n"
