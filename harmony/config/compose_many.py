"""Composing the runs of a sweep: Hydra once for each set of group choices, not once for each run.

Runs that choose the same options of the same groups have the same tree before it is resolved.
Hydra composes it once; the values of each run are then set on a copy, the way Hydra sets them.
What is more than a value for a key that is there (a new key, a deleted one, a mapping) takes the
long way through `compose`, and so does whatever fails, for its error. Some runs, among them the
first of every set, are composed both ways and must agree.
"""

import copy
import functools
import logging
import pickle
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import OmegaConf, open_dict

from harmony.config.compose import COMPOSING_ERRORS, Composed, compose, hydra_session
from harmony.config.conf_dir import find_conf_dir, list_groups
from harmony.errors import ConfigError

log = logging.getLogger(__name__)

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_WORTH = 4  # runs of one set; fewer are composed sooner one by one
_SPREAD = 8  # runs that are composed both ways, besides the first of every set
_MANY = 100  # runs; only larger sweeps say how far they are
_EVERY_S = 3.0
_SETS = (OverrideType.CHANGE, OverrideType.FORCE_ADD)
_REFERENCE = re.compile(r"\$\{\s*(?P<name>[\w.-]+)\s*(?P<end>[:}\[])")
_RESOLVERS = ("absolute", "oc.decode", "oc.env")
"""Resolvers that look at nothing but their arguments and the environment."""


class _DifferenceError(Exception):
    """The short way and the long way disagree."""


def compose_all(jobs: Sequence[Sequence[str]]) -> list[Composed]:
    """Compose every run of a sweep; the results are those of `compose`.

    Args:
        jobs: the overrides of each run.

    Raises:
        ConfigError: that of the first run that has one; it names the run where there are several.
    """
    if len(jobs) >= _WORTH:
        try:
            return _each("composed", jobs, range(len(jobs)), _Composer(jobs).composed)
        except _DifferenceError as error:
            log.warning("%s; composing each run by itself, which takes longer", error)
    return _each("composed", jobs, jobs, compose)


def check_all(runs: Sequence[Composed], check: Callable[[Composed], object]) -> None:
    """Check every run of a sweep.

    Args:
        runs: composed.
        check: raises a ConfigError for a run that is wrong.

    Raises:
        ConfigError: that of the first run that has one; it names the run where there are several.
    """
    _each("checked", [run.overrides for run in runs], runs, check)


def _each(
    verb: str,
    jobs: Sequence[Sequence[str]],
    items: Collection[_Item],
    work: Callable[[_Item], _Result],
) -> list[_Result]:
    """Do the same for every run; large sweeps say every few seconds how far they are."""
    results: list[_Result] = []
    said = time.monotonic()
    for index, item in enumerate(items):
        with _named(jobs, index):
            results.append(work(item))
        if len(jobs) > _MANY and time.monotonic() - said >= _EVERY_S:
            said = time.monotonic()
            log.info("%s %s of %s runs", verb, f"{index + 1:,}", f"{len(jobs):,}")
    return results


@contextmanager
def _named(jobs: Sequence[Sequence[str]], index: int) -> Iterator[None]:
    """Say in an error which of several runs it belongs to, by what makes that run another one."""
    try:
        yield
    except ConfigError as error:
        if len(jobs) == 1:
            raise
        shared = set.intersection(*(set(job) for job in jobs))
        own = " ".join(x for x in jobs[index] if x not in shared) or " ".join(jobs[index])
        where = f"run {index + 1:,} of {len(jobs):,}: {own}"
        raise ConfigError(f"{error} (in {where.rstrip(': ')})") from error


@dataclass(frozen=True)
class _Job:
    """The overrides of a run, told apart.

    Attributes:
        overrides: as typed, without those of Hydra itself.
        structure: those that choose options, and those of Hydra itself, in their order.
        values: those that set a value, in their order.
    """

    overrides: list[str]
    structure: tuple[str, ...]
    values: tuple[Override, ...]

    @property
    def interpolates(self) -> bool:
        return any("${" in str(value.input_line) for value in self.values)


def _job(overrides: Sequence[str], groups: Collection[str]) -> _Job | None:
    """Tell the overrides of a run apart; None if one of them needs the long way."""
    task: list[str] = []
    structure: list[str] = []
    values: list[Override] = []
    for text in overrides:
        override = _parsed(text)
        if override is None:
            return None
        if not override.is_hydra_override():
            task.append(text)
        if override.is_hydra_override() or override.key_or_group in groups:
            if "${" in text:
                return None  # what it means may depend on values
            structure.append(text)
        elif _sets_value(override):
            values.append(override)
        else:
            return None
    return _Job(task, tuple(structure), tuple(values))


@functools.lru_cache(maxsize=4096)
def _parsed(text: str) -> Override | None:
    """Read an override; None for what only `compose` should judge."""
    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException:
        return None
    odd = override.package is not None or override.is_sweep_override()
    # with other sources there may be other groups
    odd |= override.key_or_group in ("hydra", "hydra.searchpath")
    return None if odd or isinstance(override.value(), dict) else override


def _sets_value(override: Override) -> bool:
    text = str(override.input_line)
    # the tree that values are set on lacks Hydra's own section
    refers_to_hydra = "${" in text and "hydra" in text
    return override.type in _SETS and "/" not in override.key_or_group and not refers_to_hydra


class _Composer:
    """Composes the runs of one sweep, each once and in their order."""

    def __init__(self, jobs: Sequence[Sequence[str]]) -> None:
        groups = list_groups(find_conf_dir())
        with hydra_session():  # Hydra's parser wants its version to be settled
            self._jobs = [_job(job, groups) for job in jobs]
        self._overrides = jobs
        self._sizes = Counter(job.structure for job in self._jobs if job is not None)
        self._spread = {round(i * (len(jobs) - 1) / (_SPREAD - 1)) for i in range(_SPREAD)}
        self._trees: dict[tuple[str, ...], _Tree | None] = {}
        self._agreed: set[tuple[str, ...]] = set()

    def composed(self, index: int) -> Composed:
        """Compose a run.

        Raises:
            ConfigError: as `compose`.
            _DifferenceError: the short way gave something else than `compose`.
        """
        job, overrides = self._jobs[index], self._overrides[index]
        if job is None or self._sizes[job.structure] < _WORTH:
            return compose(overrides)
        known = None
        if job.structure not in self._trees:
            known = compose(overrides)
            self._trees[job.structure] = _Tree.of(job.structure, known)
        tree = self._trees[job.structure]
        short = tree.composed(job) if tree else None
        if short is None:
            return known or compose(overrides)
        if job.structure in self._agreed and index not in self._spread:
            return short
        self._agreed.add(job.structure)
        return _agreeing(short, known or compose(overrides))


def _agreeing(short: Composed, known: Composed) -> Composed:
    # repr tells 1, 1.0 and True apart, and the order of keys
    if repr(short) != repr(known):
        raise _DifferenceError(f"the short way differs from Hydra in '{' '.join(known.overrides)}'")
    return known


class _Tree:
    """What the runs of one set of choices have in common: the tree without their values.

    Args:
        structure: overrides that choose options.
        model: a run of the set, which knows its choices.
    """

    def __init__(self, structure: Sequence[str], model: Composed) -> None:
        with hydra_session():
            tree = hydra.compose("config", overrides=list(structure))
        self._model = model
        self._pickled = pickle.dumps(tree)  # read back in a fourth of the time of a deep copy
        raw = OmegaConf.to_container(tree, resolve=False)
        assert isinstance(raw, dict)
        self._raw: dict[Any, Any] = raw
        self._seen = _seen(raw)
        self._resolved: dict[tuple[object, ...], Any] = {}

    @classmethod
    def of(cls, structure: Sequence[str], model: Composed) -> "_Tree | None":
        """Compose the tree of a set; None if it has to be done run by run."""
        try:
            tree = cls(structure, model)
        except COMPOSING_ERRORS:
            return None  # it may be mended by the values of a run
        return None if any("hydra" in text for text in _interpolations(tree._raw)) else tree

    def composed(self, job: _Job) -> Composed | None:
        """Compose a run of the set; None if it needs the long way."""
        if not all(self._is_leaf(value) for value in job.values):
            return None
        make = self._interpolated if job.interpolates else self._plain
        try:
            config, overrides = make(job)
        except COMPOSING_ERRORS:
            return None  # compose says it in our words
        return Composed(config, dict(self._model.choices), overrides, self._model.launcher)

    def _is_leaf(self, override: Override) -> bool:
        """Tell whether an override sets a key that is there and no mapping.

        A path through an interpolation sets a key of another section; it is none of these.
        """
        node: Any = self._raw
        for name in override.key_or_group.split("."):
            if not isinstance(node, dict) or name not in node:
                return False
            node = node[name]
        merges = isinstance(override.value(), list) and isinstance(node, str)
        return not isinstance(node, dict) and not merges

    def _interpolated(self, job: _Job) -> tuple[dict[str, Any], list[str]]:
        tree = self._with_values(job.values)
        config = {str(section): _resolved(tree, str(section)) for section in self._raw}
        with open_dict(tree):  # Hydra's list of overrides is resolved like the rest
            tree["hydra"] = {"overrides": {"task": job.overrides}}
        return config, [str(override) for override in tree.hydra.overrides.task]

    def _plain(self, job: _Job) -> tuple[dict[str, Any], list[str]]:
        @functools.cache
        def tree() -> Any:  # noqa: ANN401 - typed by Hydra
            return self._with_values(job.values)

        config = {str(section): self._shared(str(section), job, tree) for section in self._raw}
        return config, list(job.overrides)

    def _with_values(self, values: Sequence[Override]) -> Any:  # noqa: ANN401 - typed by Hydra
        tree = pickle.loads(self._pickled)
        for value in values:
            force = value.is_force_add()
            OmegaConf.update(tree, value.key_or_group, value.value(), merge=True, force_add=force)
        return tree

    def _shared(self, section: str, job: _Job, tree: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Return a resolved section; runs with the same values in what it refers to share it."""
        seen = self._seen[section]
        key = (section, *(v.input_line for v in job.values if _section(v) in seen))
        if key not in self._resolved:
            self._resolved[key] = _resolved(tree(), section)
        return copy.deepcopy(self._resolved[key])


def _section(override: Override) -> str:
    return override.key_or_group.split(".")[0]


def _resolved(tree: Any, section: str) -> Any:  # noqa: ANN401 - any plain value
    value = OmegaConf.select(tree, section, throw_on_missing=True)
    if OmegaConf.is_config(value):
        return OmegaConf.to_container(value, resolve=True, throw_on_missing=True)
    return value


def _seen(raw: Mapping[Any, Any]) -> dict[str, set[str]]:
    """Return for each section those that its values depend on, itself included."""
    everything = {str(section) for section in raw}
    direct = {
        str(section): {str(section)}.union(
            *(_sections(x, everything) for x in _interpolations(value))
        )
        for section, value in raw.items()
    }
    for _ in direct:  # each round follows references one step further
        direct = {
            section: names.union(*(direct.get(name, set()) for name in names))
            for section, names in direct.items()
        }
    return direct


def _sections(text: str, everything: set[str]) -> set[str]:
    """Return the sections that a value with interpolations names; all, where that is not plain."""
    found = list(_REFERENCE.finditer(text))
    resolvers = [x["name"] for x in found if x["end"] == ":"]
    named = {x["name"].split(".")[0] for x in found if x["end"] != ":"}
    plain = len(found) == text.count("${") and set(resolvers) <= set(_RESOLVERS)
    # a name that begins with a dot is relative
    return named if plain and "" not in named else everything


def _interpolations(value: object) -> Iterator[str]:
    if isinstance(value, str) and "${" in value:
        yield value
    items: Collection[object] = ()
    if isinstance(value, dict):
        items = value.values()
    elif isinstance(value, list):
        items = value
    for item in items:
        yield from _interpolations(item)
