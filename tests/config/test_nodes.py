import functools
from pathlib import Path

import pytest

from harmony.config.nodes import Constructor, instantiate, resolve_target
from harmony.errors import ConfigError
from tests.config import fakes


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("os.system", "below 'harmony.', got 'os.system'"),
        ("harmony", "below 'harmony.'"),
        (3, "below 'harmony.', got 3"),
        ("harmony.nowhere.X", "no module 'harmony.nowhere'"),
        ("harmony.fakes.GUR", "did you mean 'GRU'"),
        ("harmony.errors.__doc__", "has no '__doc__'"),
    ],
)
def test_a_target_must_exist_below_the_package(monkeypatch, target, message):
    monkeypatch.setattr(fakes.GRU, "__module__", "harmony.fakes")
    with pytest.raises(ConfigError, match=message):
        resolve_target(target)


def test_reads_parameters_and_hints_of_classes_dataclasses_and_functions():
    rssm = Constructor.of("harmony.fakes.RSSM")
    assert list(rssm.parameters) == ["embed_size", "deter", "cell", "rate"]
    assert rssm.hints["cell"] is fakes.GRU
    assert rssm.produced is fakes.RSSM
    assert not rssm.is_open
    assert Constructor.of("harmony.fakes.LSTM").hints["units"] is int
    assert Constructor.of("harmony.fakes.Walker").hints["camera"] == int | str | None
    assert Constructor.of("harmony.fakes.make_gru").produced is fakes.GRU
    assert Constructor.of("harmony.fakes.Holder").is_open


def test_an_annotation_that_nobody_can_read_is_named():
    with pytest.raises(ConfigError, match="unresolvable: annotation names 'Nowhere'"):
        Constructor.of("harmony.fakes.unresolvable")


def test_builds_nested_nodes_and_partials():
    node = {
        "_target_": "harmony.fakes.RSSM",
        "_partial_": True,
        "deter": 8,
        "cell": {"_target_": "harmony.fakes.GRU", "units": 4},
    }
    make = instantiate(node)
    assert isinstance(make, functools.partial)
    rssm = make(5)
    assert (rssm.embed_size, rssm.deter, rssm.cell.units) == (5, 8, 4)
    assert instantiate(node, embed_size=6)().embed_size == 6


def test_builds_in_lists_and_mappings_and_adapts_paths_and_tuples():
    gru = {"_target_": "harmony.fakes.GRU", "units": 4}
    holder = instantiate(
        {
            "_target_": "harmony.fakes.Holder",
            "cells": [gru, gru],
            "by_name": {"a": gru},
            "folder": "x/y",
            "pair": [1, 2.0],
            "kernels": [4, 4],
            "extra": [1],
        }
    )
    assert [cell.units for cell in holder.cells] == [4, 4]
    assert holder.cells[0] is not holder.cells[1]
    assert holder.by_name["a"].units == 4
    assert holder.folder == Path("x/y")
    assert holder.pair == (1, 2.0)
    assert holder.kernels == (4, 4)
    assert holder.rest == {"extra": [1]}


def test_runtime_arguments_reach_the_constructor():
    node = {"_target_": "harmony.fakes.BigRSSM"}
    assert instantiate(node, embed_size=3).embed_size == 3
