"""What the documents name exists: links, files, tests, commands, keys and their defaults."""

import functools
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from harmony.build import check_size
from harmony.config import cli, sweep
from harmony.config.check import check_keys, check_nodes
from harmony.config.compose import Composed, compose
from harmony.config.conf_dir import list_groups
from harmony.config.identity import flatten
from harmony.parts import RUNTIME_ARGUMENTS, SCHEMAS
from launch import conf

conf.register()  # as the command line does it
ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
CONFIGURATION = ROOT / "docs" / "configuration.md"
FILE = re.compile(
    r"(?<![\w/.-])(?:harmony|conf|tests|benchmarks|docs)/[\w./-]+\.(?:py|yaml|md)(?![\w*<])"
)
TEST = re.compile(r"(tests/[\w/]+\.py)::(\w+)")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
COMMAND = re.compile(r"python -m (?P<module>harmony[\w.]*)(?P<arguments>[^\n`]*)")
CELL = re.compile(r"`([^`]+)`")

in_each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)


def slug(heading: str) -> str:
    """The anchor that a heading gets."""
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


def anchors(document: Path) -> set[str]:
    return {slug(h) for h in re.findall(r"^#+ (.+)$", document.read_text("utf-8"), re.MULTILINE)}


def commands(document: Path) -> Iterator[tuple[str, list[str]]]:
    """Module and arguments of each command, without comments; lines that end in \\ are joined."""
    text = document.read_text("utf-8").replace("\\\n", " ")
    for found in COMMAND.finditer(text):
        yield found["module"], shlex.split(found["arguments"], comments=True)


def harmony_commands() -> list[Any]:
    found = {
        tuple(arguments): document.stem
        for document in DOCUMENTS
        for module, arguments in commands(document)
        if module == "harmony" and any("=" in argument for argument in arguments)
    }
    return [pytest.param(key, id=f"{name}: {' '.join(key)}") for key, name in found.items()]


@functools.cache
def composed(*overrides: str) -> Composed:
    return compose(overrides)


@in_each_document
def test_links_lead_somewhere(document):
    for link in LINK.findall(document.read_text("utf-8")):
        if "://" in link or link.startswith("mailto:"):
            continue
        name, _, anchor = link.partition("#")
        target = (document.parent / name) if name else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@in_each_document
def test_files_that_are_named_exist(document):
    for name in FILE.findall(document.read_text("utf-8")):
        assert (ROOT / name).exists(), name


@in_each_document
def test_tests_that_are_named_exist(document):
    for file, name in TEST.findall(document.read_text("utf-8")):
        defined = re.findall(r"^def (\w+)\(", (ROOT / file).read_text("utf-8"), re.MULTILINE)
        assert name in defined, f"{file}::{name}"


@in_each_document
def test_modules_that_commands_run_exist(document):
    for module, _ in commands(document):
        assert importlib.util.find_spec(module.rstrip(".")) is not None, module


@pytest.mark.parametrize("arguments", harmony_commands())
def test_commands_compose(arguments):
    parsed = cli.parse(arguments)
    overrides = parsed.overrides
    if parsed.multirun or sweep.is_sweep(overrides):
        overrides = sweep.expand(overrides)[0]
    run = composed(*overrides)
    check_keys(run)
    check_nodes(run, RUNTIME_ARGUMENTS, SCHEMAS)
    check_size(run)


def tables() -> Iterator[tuple[list[str], list[list[str]]]]:
    """Header and rows of each table of keys in the document on configuration."""
    lines = CONFIGURATION.read_text("utf-8").splitlines()
    header: list[str] = []
    rows: list[list[str]] = []
    for line in [*lines, ""]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            if header and header[0] == "key" and CELL.fullmatch(header[1]):
                yield header, rows
            header, rows = [], []
        elif not header:
            header = cells
        else:
            rows.append(cells)


def plain(cell: str) -> object:
    """The value that a cell shows; yaml takes 1e-4 for text."""
    try:
        return float(cell)
    except ValueError:
        return yaml.safe_load(cell)


def value_of(config: dict[str, Any], key: str) -> Any:
    """A value or a section without `_partial_`."""
    found: Any = config
    for part in key.split("."):
        found = found[part]
    return found


def keys_in(header: list[str], rows: list[list[str]]) -> Iterator[tuple[str, str, str]]:
    """Overrides of the column, key, and value as written, of each cell that shows a value."""
    for row in rows:
        key = CELL.fullmatch(row[0])
        for title, cell in zip(header[1:], row[1:], strict=True):
            column, shown = CELL.fullmatch(title), CELL.fullmatch(cell)
            if key and column and shown:
                yield column[1], key[1], shown[1]


SHOWN = [cell for table in tables() for cell in keys_in(*table)]
GROUPS = {
    group: options
    for group, options in list_groups(ROOT / "conf").items()
    if group != "preset" and not group.startswith("hydra/")  # launchers: docs/slurm.md
}


def test_values_are_shown():
    assert len(SHOWN) > 200


@pytest.mark.parametrize("overrides", sorted({overrides for overrides, _, _ in SHOWN}))
def test_defaults_are_those_of_the_configuration(overrides):
    config = composed(*overrides.split()).config
    wrong = [
        (key, value, value_of(config, key))
        for column, key, value in SHOWN
        if column == overrides and plain(value) != value_of(config, key)
    ]
    assert wrong == []


@pytest.mark.parametrize("group", GROUPS)
def test_every_key_is_in_the_tables(group):
    listed = {found[1] for _, rows in tables() for row in rows if (found := CELL.match(row[0]))}
    missing = set()
    for option in GROUPS[group]:
        for leaf in flatten(composed(f"{group}={option}").config):
            parts = leaf.split(".")
            above = {".".join(parts[:length]) for length in range(1, len(parts) + 1)}
            if not parts[-1].startswith("_") and not above & listed:
                missing.add(leaf)
    assert missing == set()


def test_every_group_and_option_is_listed():
    row = re.compile(r"^\| `([\w/]+)` \| (`[^|]+`) \|", re.MULTILINE)
    found = row.findall(CONFIGURATION.read_text("utf-8").split("## Rules")[0])
    listed = {group: sorted(CELL.findall(options)) for group, options in found}
    groups = {group: sorted(options) for group, options in list_groups(ROOT / "conf").items()}
    assert listed == groups
