"""The tested versions lie in the declared ranges."""

import re
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DECLARED = list(chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()))
RANGES = [one for one in map(Requirement, dict.fromkeys(DECLARED)) if one.name != PROJECT["name"]]


def pins(name):
    """Return the versions of a constraints file."""
    found = re.findall(r"^([\w.-]+)==(\S+)", (ROOT / name).read_text(), re.M)
    return {canonicalize_name(package): Version(version) for package, version in found}


@pytest.mark.parametrize("one", RANGES, ids=str)
def test_both_sets_are_of_the_ranges(one):
    name = canonicalize_name(one.name)
    (low,) = [spec.version for spec in one.specifier if spec.operator in (">=", "==")]
    assert pins("constraints-oldest.txt")[name] == Version(low)
    assert pins("constraints.txt")[name] in one.specifier
