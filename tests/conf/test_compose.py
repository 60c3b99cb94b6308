"""The real conf/: every choice of every group composes and passes the check."""

import functools
import itertools
import re
from pathlib import Path

import pytest
import yaml

from harmony.build import check_size
from harmony.config.check import check_keys, check_nodes
from harmony.config.compose import Composed, compose
from harmony.config.conf_dir import find_conf_dir, list_groups
from harmony.errors import ConfigError
from harmony.parts import RUNTIME_ARGUMENTS, SCHEMAS

CONF = Path(__file__).parents[2] / "conf"
GROUPS = list_groups(CONF)
PAIRS = list(itertools.product(GROUPS["algorithm"], GROUPS["env"]))
SIZES = {
    path.stem: yaml.safe_load(path.read_text("utf-8"))["algorithm"]["sizes"]
    for path in sorted((CONF / "algorithm").glob("*.yaml"))
}
"""Of each algorithm; it has no widths of others."""
NO_PAPER_PRESET = {
    *((algorithm, "probe") for algorithm in GROUPS["algorithm"]),
    *itertools.product(("dreamerv2", "dreamerpro"), ("atari100k", "crafter")),
    *((algorithm, "rlbench") for algorithm in GROUPS["algorithm"] if algorithm != "dreamerv2"),
    *itertools.product(("dreamerv3_2025", "dreamerpro"), ("dmc_remastered",)),
    *((algorithm, "minedojo") for algorithm in GROUPS["algorithm"] if algorithm != "dreamerv3"),
    ("dreamerpro", "metaworld"),
    ("dreamerv3", "natural_background"),
    ("dreamerv3_2025", "natural_background"),
    ("dreamerpro", "metaworld_v2"),
    ("dreamerv3_2025", "metaworld"),
    ("dreamerv3_2025", "metaworld_v2"),
}
"""Pairs for which the paper has no numbers: they run with the defaults."""


@functools.cache
def composed(*overrides: str) -> Composed:
    return compose(overrides)


def check(*overrides: str) -> Composed:
    result = composed(*overrides)
    check_keys(result)
    check_nodes(result, RUNTIME_ARGUMENTS, SCHEMAS)
    check_size(result)
    return result


def test_this_is_the_conf_that_runs():
    assert find_conf_dir() == CONF


@pytest.mark.parametrize(("algorithm", "env"), PAIRS)
def test_every_pair_passes_the_check(algorithm, env):
    result = check(f"algorithm={algorithm}", f"env={env}")
    assert result.choices["algorithm"] == algorithm
    assert result.choices["env"] == env


@pytest.mark.parametrize(("algorithm", "env"), PAIRS)
def test_every_pair_has_a_preset_or_is_listed(algorithm, env):
    has_one = f"{algorithm}_{env}" in GROUPS["preset"]
    assert has_one is ((algorithm, env) not in NO_PAPER_PRESET)
    assert ("preset" in composed(f"algorithm={algorithm}", f"env={env}").choices) is has_one


def test_no_preset_without_a_pair():
    assert set(GROUPS["preset"]) <= {f"{algorithm}_{env}" for algorithm, env in PAIRS}


def check_harmony(algorithm, harmony, size, debug):
    chosen = (f"algorithm={algorithm}", f"harmony={harmony}", f"size={size}", f"debug={debug}")
    assert check(*chosen).choices["harmony"] == harmony


@pytest.mark.parametrize("algorithm", GROUPS["algorithm"])
@pytest.mark.parametrize("debug", GROUPS["debug"])
def test_every_harmony_with_every_debug(algorithm, debug):
    for harmony in GROUPS["harmony"]:
        check_harmony(algorithm, harmony, "paper", debug)


@pytest.mark.parametrize("algorithm", GROUPS["algorithm"])
@pytest.mark.parametrize("debug", GROUPS["debug"])
def test_every_size_with_every_debug(algorithm, debug):
    for size in SIZES[algorithm]:
        check_harmony(algorithm, "on", size, debug)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", GROUPS["algorithm"])
@pytest.mark.parametrize("harmony", GROUPS["harmony"])
def test_every_harmony_with_every_size_and_debug(algorithm, harmony):
    for size, debug in itertools.product(SIZES[algorithm], GROUPS["debug"]):
        check_harmony(algorithm, harmony, size, debug)


def test_sizes_that_algorithms_name_exist_and_others_are_refused():
    assert set(SIZES) == set(GROUPS["algorithm"])
    assert set().union(*SIZES.values()) == set(GROUPS["size"])
    for algorithm, sizes in SIZES.items():
        other = sorted(set(GROUPS["size"]) - set(sizes))[0]
        with pytest.raises(ConfigError, match=f"^algorithm={algorithm} has no size={other}; take"):
            check(f"algorithm={algorithm}", f"size={other}")


@pytest.mark.parametrize("algorithm", GROUPS["algorithm"])
def test_every_size_of_an_algorithm_has_all_widths(algorithm):
    """A width that a size leaves out would be that of the algorithm's own size."""
    widths = set(yaml.safe_load((CONF / "algorithm" / f"{algorithm}.yaml").read_text())["size"])
    for size in SIZES[algorithm]:
        given = yaml.safe_load((CONF / "size" / f"{size}.yaml").read_text())
        if size != "paper":
            assert set(given.get("size", given)) == widths, size


OTHERS = sorted(
    (group, option)
    for group, options in GROUPS.items()
    for option in options
    if group not in {"algorithm", "env", "harmony", "preset", "size", "debug"}
    and not group.startswith("hydra/")
)


@pytest.mark.parametrize(("group", "option"), OTHERS)
def test_every_other_option_passes_the_check(group, option):
    assert check(f"{group}={option}").choices[group] == option


@pytest.mark.parametrize(("algorithm", "env"), PAIRS)
def test_size_and_debug_win_over_the_preset(algorithm, env):
    pair = (f"algorithm={algorithm}", f"env={env}")
    batch_sizes = {
        check(*pair, "size=tiny", f"debug={debug}").config["replay"]["batch_size"]
        for debug in GROUPS["debug"]
    }
    assert batch_sizes == {8, 2}


def test_the_defaults_are_the_first_comment_of_each_group():
    """The comments of config.yaml list the options that exist."""
    text = (CONF / "config.yaml").read_text(encoding="utf-8")
    for group, comment in re.findall(r"^  - (\w+): \S+ +# ([^:\n]+)", text, re.MULTILINE):
        named = {word.strip() for word in comment.split(",")}
        if named & set(GROUPS[group]):
            assert named == set(GROUPS[group]), group


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda p: p.stem)
def test_no_key_is_a_boolean_by_accident(path):
    def keys(value: object):
        if isinstance(value, dict):
            yield from value
            for item in value.values():
                yield from keys(item)

    assert all(isinstance(key, str) for key in keys(yaml.safe_load(path.read_text("utf-8"))))


@pytest.mark.parametrize("env", GROUPS["env"])
def test_a_typo_in_any_node_is_refused_by_its_class(env):
    result = compose([f"env={env}", "+env.no_such_key=1"])
    with pytest.raises(ConfigError, match=r"^command line .* has no argument 'no_such_key'"):
        check_nodes(result, RUNTIME_ARGUMENTS, SCHEMAS)
