"""What gets installed is said in four files, which can't drift apart."""

import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
REQUIREMENTS = {
    f"{group}:{text}": Requirement(text)
    for group, texts in {"base": PROJECT["project"]["dependencies"], **EXTRAS}.items()
    for text in texts
}
MAKEFILE = (ROOT / "Makefile").read_text()
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text())


def pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


PINS = {canonicalize_name(pin.name): pin for pin in pins()}


def conda_pip():
    (section,) = [part for part in CONDA["dependencies"] if isinstance(part, dict)]
    return section["pip"]


@pytest.mark.parametrize("requirement", REQUIREMENTS.values(), ids=REQUIREMENTS.keys())
def test_every_requirement_is_pinned_to_a_version_that_satisfies_it(requirement):
    pin = PINS[canonicalize_name(requirement.name)]
    (spec,) = pin.specifier
    assert requirement.specifier.contains(spec.version)


def test_pins_are_exact_and_fit_the_cpu_and_the_cuda_build():
    for pin in PINS.values():
        (spec,) = pin.specifier
        assert spec.operator == "==", pin
        # +cpu or +cu126 would rule one of the builds out.
        assert Version(spec.version).local is None, pin
        assert pin.url is None, pin
        assert pin.marker is None, pin


def test_each_package_is_pinned_once_under_its_canonical_name_in_order():
    found = [pin.name for pin in pins()]
    assert found == sorted(set(found))
    assert [canonicalize_name(name) for name in found] == found


def test_one_torch():
    pinned = str(PINS["torch"].specifier)
    assert re.findall(r"\btorch(==\S+)", MAKEFILE) == [pinned]
    assert [line for line in conda_pip() if line.startswith("torch")] == [f"torch{pinned}"]
    (required,) = [r for r in REQUIREMENTS.values() if r.name == "torch"]
    assert str(required.specifier) == pinned


def test_the_same_extras_everywhere():
    in_make = re.search(r"^EXTRAS\s*:=\s*(\S+)$", MAKEFILE, re.MULTILINE)[1].split(",")
    (own,) = [line for line in conda_pip() if line.startswith("-e ")]
    assert own == f"-e .[{','.join(in_make)}]"
    assert set(in_make) == set(EXTRAS)
    assert "-c constraints.txt -e '.[$(EXTRAS)]'" in MAKEFILE


def test_both_ways_use_the_constraints_for_every_install():
    assert "-c constraints.txt" in conda_pip()
    installs = re.findall(r"^\t\$\(PIP\) (.*)$", MAKEFILE, re.MULTILINE)
    assert len(installs) == 2
    assert all("-c constraints.txt" in install for install in installs)
    # A changed file means a new environment.
    rule = re.search(r"^\$\(VENV\)/\.installed: (.*)$", MAKEFILE, re.MULTILINE)[1]
    assert set(rule.split()) == {"pyproject.toml", "constraints.txt"}


def test_one_python():
    assert "python=3.11" in CONDA["dependencies"]
    assert re.search(r"^PYTHON \?= python3\.11$", MAKEFILE, re.MULTILINE)
    asked = SpecifierSet(PROJECT["project"]["requires-python"])
    assert "3.11" in asked
    assert "3.11.99" in asked
    assert not {"3.10", "3.12"} & {v for v in ("3.10", "3.12") if v in asked}
    assert PROJECT["tool"]["mypy"]["python_version"] == "3.11"
    assert PROJECT["tool"]["ruff"]["target-version"] == "py311"
    assert sys.version_info[:2] == (3, 11)


def test_the_make_targets_of_the_head_comment_exist():
    described = re.findall(r"^# make ([\w-]+)", MAKEFILE, re.MULTILINE)
    assert {"run", "test"} <= set(described)
    targets = set(re.findall(r"^([\w -]+):", MAKEFILE, re.MULTILINE))
    named = {word for target in targets for word in target.split()}
    assert set(described) <= named
