"""The stand-in for RLBench has the names and parameters of the real one, which are kept as data.

The manifest was read from RLBench 1.2.0 and PyRep 4.1.0.3; where both are installed, it is compared
with them too.
"""

import ast
import importlib
import inspect
import json
import os
import textwrap
from pathlib import Path

import pytest

from harmony.envs.worlds import rlbench as world_file
from tests.rlbench_fakes import FAKES, importable, is_rlbench

MANIFEST = json.loads((FAKES / "rlbench_signatures.json").read_text("utf-8"))
PLACES = sorted(
    {*MANIFEST["parameters"], *MANIFEST["attributes"]}
    | {*MANIFEST["properties"], *MANIFEST["exceptions"]}
)
PLAIN = (type(None), bool, int, float, str, tuple)


def find(place):
    """What `module:Class.name` or `module:Class` stands for."""
    module, _, dotted = place.partition(":")
    found = importlib.import_module(module)
    for name in dotted.split("."):
        found = getattr(found, name)
    return found


def parameters(place):
    """Of a function, with the defaults that are plain values."""
    told = []
    for name, parameter in inspect.signature(find(place)).parameters.items():
        default = parameter.default
        if default is inspect.Parameter.empty:
            told.append(name)
        else:
            told.append(f"{name}={default!r}" if isinstance(default, PLAIN) else f"{name}=...")
    return told


def assigned(place):
    """Names of the attributes of self that a function assigns."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(find(place))))
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    }


def check(place):
    """Whether what is importable now is as the manifest says."""
    if place in MANIFEST["parameters"]:
        assert parameters(place) == MANIFEST["parameters"][place]
    if place in MANIFEST["attributes"]:
        assert set(MANIFEST["attributes"][place]) <= assigned(place)
    if place in MANIFEST["properties"]:
        assert isinstance(find(place), property)
    if place in MANIFEST["exceptions"]:
        assert find(place).__bases__ == (Exception,)


@pytest.mark.parametrize("place", PLACES)
def test_the_stand_in_is_as_the_manifest_says(place):
    with importable(FAKES):
        check(place)


def test_the_real_packages_are_as_the_manifest_says():
    with importable(None):
        if world_file.missing_package() or world_file.missing_machine(os.environ):
            pytest.skip("RLBench, PyRep or CoppeliaSim are not here")
        for place in PLACES:
            check(place)


def test_the_manifest_has_all_that_the_world_file_uses():
    """Every name that is imported from RLBench or PyRep is in it, or a class whose parts are."""
    tree = ast.parse(Path(world_file.__file__).read_text("utf-8"))
    imported = {
        f"{node.module}:{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and is_rlbench(node.module or "")
        for alias in node.names
    }
    classes = {MANIFEST["elsewhere"].get(place, place) for place in imported}
    assert len(imported) == 11
    assert [name for name in classes if not any(place.startswith(name) for place in PLACES)] == []
