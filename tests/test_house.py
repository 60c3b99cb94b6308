"""Rules of the house that a linter does not know."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = sorted((ROOT / "harmony").rglob("*.py"))
CODE = [
    *PACKAGE,
    *sorted((ROOT / "benchmarks").rglob("*.py")),
    *sorted((ROOT / "launch").rglob("*.py")),
]
EVERYTHING = [*CODE, *sorted((ROOT / "tests").rglob("*.py"))]
ALGORITHMS = sorted(path.stem for path in (ROOT / "conf" / "algorithm").glob("*.yaml"))
FAMILY = re.compile(r"dreamer|wmlib", re.IGNORECASE)
"""Names that an algorithm may have, those to come included."""


def names(paths):
    return [path.relative_to(ROOT).as_posix() for path in paths]


def strings_compared(tree):
    """String constants in comparisons, match patterns and keys of looked-up dicts."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            parts = [node.value]
        elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Dict):
            parts = [key for key in node.value.keys if key is not None]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            parts = node.args if node.func.attr in ("startswith", "endswith", "get") else []
        else:
            continue
        for part in parts:
            for leaf in ast.walk(part):
                if isinstance(leaf, ast.Constant) and isinstance(leaf.value, str):
                    yield leaf.value


def test_the_rule_finds_what_it_is_for():
    for line in (
        "if algorithm == 'dreamerv3': pass",
        "x = 1 if name in ('a', 'dreamerpro') else 2",
        "name.startswith('dreamer')",
        "{'dreamerv2': 1}[name]",
        "match name:\n  case 'dreamerv2': pass",
    ):
        assert [s for s in strings_compared(ast.parse(line)) if FAMILY.search(s)], line
    assert not list(strings_compared(ast.parse("def f():\n    '''DreamerV2's loss.'''")))


def test_algorithms_are_known_here():
    assert "dreamerv2" in ALGORITHMS
    assert all(FAMILY.search(name) for name in ALGORITHMS)


@pytest.mark.parametrize("path", PACKAGE, ids=names(PACKAGE))
def test_no_part_knows_its_algorithm(path):
    found = [text for text in strings_compared(ast.parse(path.read_text())) if FAMILY.search(text)]
    assert found == []


@pytest.mark.parametrize("path", PACKAGE, ids=names(PACKAGE))
def test_nothing_prints(path):
    calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    lines = [c.lineno for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]
    assert lines == []


def test_files_stay_short():
    lengths = {p: len(p.read_text().splitlines()) for p in EVERYTHING}
    assert {str(p.relative_to(ROOT)): n for p, n in lengths.items() if n > 350} == {}


def test_no_drawers_for_everything():
    vague = {"utils", "util", "common", "tools", "helpers", "helper", "misc"}
    parts = {part.removesuffix(".py") for name in names(EVERYTHING) for part in Path(name).parts}
    assert parts & vague == set()


def test_test_files_have_names_of_their_own():
    """Folders without __init__.py share one namespace."""
    stems: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        packaged = (path.parent / "__init__.py").exists()
        key = path.relative_to(ROOT).as_posix() if packaged else path.stem
        stems.setdefault(key, []).append(path.relative_to(ROOT).as_posix())
    assert {stem: paths for stem, paths in stems.items() if len(paths) > 1} == {}
