"""Every file of docs/extending.md adds its part: all at once, and some alone."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import trees

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text()
FILES = {
    name: f"# {name}\n{code}"
    for name, code in re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```", PAGE, re.M | re.S)
}
COMMANDS = [
    line
    for block in re.findall(r"^```bash\n(.*?)^```", PAGE, re.M | re.S)
    for line in block.splitlines()
]
WORDS = {
    "python": [sys.executable],
    "wtflow": [sys.executable, "-m", "wtflow_jax"],
    "experiments/mvtec.py": [str(ROOT / "experiments" / "mvtec.py")],
    "path/to/dents": ["dents"],
    "photos/good": ["dents/bottle/train/good"],
}
SMALL = ["--smoke", "--epochs", "1", "--out", "out", "--models", "models", "--cache", "cache"]
# What asks for no other network gets the one that is compiled in seconds.
QUICK = ["--velocity", "patch"]


@pytest.fixture
def place(tmp_path):
    """A directory with the files of the page in ``parts`` and a data set."""
    (tmp_path / "parts").mkdir()
    for name, code in FILES.items():
        (tmp_path / "parts" / name).write_text(code)
    trees.mvtec_ad(tmp_path / "dents", "bottle")
    return tmp_path


def run(place, parts, words):
    """Run a command with some parts, and return what it printed."""
    environment = {**os.environ, "WTFLOW_PARTS": parts, "COLUMNS": "200"}
    done = subprocess.run(
        words, cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def last_line(told):
    """Return the line that a run ended in; it is no traceback."""
    assert "Traceback" not in told
    return told.splitlines()[-1]


def mvtec(*flags):
    return [sys.executable, str(ROOT / "experiments" / "mvtec.py"), *flags]


def options():
    """Return the flags of the page's options: fields with a default and a line of text below."""
    return re.findall(r"^    (\w+): \w+ = .*\n    \"\"\"", "".join(FILES.values()), re.M)


def test_each_part_is_a_file_with_a_command():
    named = [line.partition("=")[2].partition(" ")[0] for line in COMMANDS]
    assert set(named) == set(FILES)
    assert len(FILES) == 10
    assert len(options()) == 8


@pytest.mark.long
def test_options_are_on_help(place):
    status, printed, _ = run(place, "parts", mvtec("--help"))
    assert status == 0
    for name in options():
        assert f"--{name.replace('_', '-')} " in printed
    status, without, _ = run(place, "", mvtec("--help"))
    assert status == 0
    assert "--lean" not in without


@pytest.mark.long
def test_all_together(place):
    chosen = "--wt robust --share 0.6 --target student --freedom 4 --time-law leaning --loss huber"
    chosen += " --solver two_stage --score power --velocity shallow --hidden 8 --backbone filters"
    chosen += " --filters 24 --data dents --root dents"
    words = mvtec(*chosen.split(), *SMALL)
    status, printed, told = run(place, "parts", words)
    assert status == 0, told
    assert "image FPR at 95 % recall" in printed
    # Another file is another model: what it trained is not taken for this one's.
    with (place / "parts" / "huber.py").open("a") as file:
        file.write("\nOTHER = 1\n")
    words[words.index("out")] = "again"
    assert run(place, "parts", words)[0] == 0
    assert len(list((place / "models").iterdir())) == 2


# One that trains with a part, and those that fit; test_all_together has the flags of the others.
ALONE = [line for line in COMMANDS if "wtflow " in line or "alarms.py" in line]


@pytest.mark.long
@pytest.mark.parametrize("command", ALONE)
def test_command(command, place):
    variable, *given = shlex.split(command)
    words = [word for one in given for word in WORDS.get(one, [one])]
    if "experiments/mvtec.py" in given:
        words += SMALL if "--velocity" in words else SMALL + QUICK
    if "wtflow" in given:
        words += ["--image-size", "64", "--cache", "cache"]
    parts = f"parts/{variable.partition('=')[2]}"
    status, _, told = run(place, parts, words)
    # The tiny data set has other counts than were published.
    assert status == 0, told
    if "wtflow" in given:
        words = [*WORDS["wtflow"], "predict", "model", "dents/bottle/test", "--out", "found"]
        status, _, told = run(place, parts, words)
        assert status == 0, told


def test_a_file_that_is_not_there_is_one_line(place):
    status, _, told = run(place, "parts/nothing.py", mvtec("--smoke"))
    assert status == 1
    assert "parts/nothing.py" in last_line(told)


def test_an_option_that_is_a_flag_already_is_one_line(place):
    code = FILES["leaning.py"].replace("lean: float", "scale: float")
    (place / "parts" / "leaning.py").write_text(code)
    status, _, told = run(place, "parts/leaning.py", mvtec("--smoke"))
    assert status == 1
    assert "scale" in last_line(told)
