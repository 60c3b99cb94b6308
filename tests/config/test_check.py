import dataclasses

import pytest

from harmony.config.check import check_keys, check_nodes
from harmony.config.compose import compose
from harmony.errors import ConfigError
from tests.config import fakes

RUNTIME = {fakes.RSSM: {"embed_size"}}


def check(overrides, **options):
    composed = compose(overrides)
    check_keys(composed)
    check_nodes(composed, RUNTIME, **options)


def test_a_right_configuration_passes():
    check([])
    check(["env=hopper", "env.time_limit=9", "size=large", "harmony=off", "training.rate=1"])
    check(["algorithm.rssm._target_=harmony.fakes.BigRSSM"])  # runtime arguments are inherited


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+typo=1"], "command line '+typo=1': typo: the configuration has no key 'typo'"),
        (["+training.env_step=1"], "training has no key 'env_step'; did you mean 'env_steps'?"),
        (["~seed"], "seed: this key can't be left out"),
        (["~training.rate"], "training.rate: this key can't be left out"),
        (["seed=abc"], "seed: expected int, got str 'abc'"),
        (["seed=null"], "seed: expected int, got null"),
        (["seed=true"], "seed: expected int, got bool True"),
        (["training.env_steps=1e6"], "expected int, got float 1000000.0; write 1000000"),
        (["training.video=1"], "training.video: expected bool, got int 1"),
        (["training=3"], "training: expected a section, got 3"),
        (
            ["+algorithm.rssm.detr=200"],
            "command line '+algorithm.rssm.detr=200': algorithm.rssm.detr: RSSM has no argument "
            "'detr'; did you mean 'deter'? (has: cell, deter, rate)",
        ),
        (["algorithm.rssm.deter=abc"], "algorithm.rssm.deter: expected int, got str 'abc'"),
        (["algorithm.rssm.deter=true"], "expected int, got bool True"),
        (["algorithm.rssm.cell.units=2.0"], "cell.units: expected int, got float 2.0; write 2"),
        (["+algorithm.rssm.cell.act=relu"], "expected one of 'elu', 'silu', got str 'relu'"),
        (["algorithm.rssm.cell=3"], "algorithm.rssm.cell: expected GRU, got int 3; give a node"),
        (["algorithm.rssm.cell._target_=harmony.fakes.RSSM"], "RSSM is not a GRU"),
        (["~algorithm.rssm.deter"], "RSSM needs 'deter', which is missing"),
        (["algorithm.rssm._partial_=false"], "algorithm.rssm: RSSM needs 'embed_size'"),
        (["algorithm.rssm._partial_=1"], "expected true or false, got 1"),
        (["+algorithm.rssm.embed_size=3"], "RSSM gets 'embed_size' at run time; remove it"),
        (["~algorithm.rssm._target_"], "algorithm.rssm._partial_: a node needs '_target_'"),
        (["env._target_=harmony.fakes.Nope"], "_target_ harmony.fakes.Nope: harmony.fakes has no"),
        (["env.task=3"], "command line 'env.task=3': env.task: expected str, got int 3"),
    ],
)
def test_a_mistake_fails_and_is_named(overrides, message):
    with pytest.raises(ConfigError) as caught:
        check(overrides)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_is_named_where_the_mistake_stands_in_one(conf):
    (conf / "algorithm" / "recurrent.yaml").write_text(
        "rssm: {_target_: harmony.fakes.RSSM, _partial_: true, detr: 8}\n"
    )
    with pytest.raises(ConfigError, match=r"^conf/algorithm/recurrent.yaml: algorithm.rssm.detr: "):
        check([])


def test_an_unknown_key_of_a_preset_fails_although_hydra_lets_it_in(conf):
    (conf / "preset" / "recurrent_walker.yaml").write_text(
        "# @package _global_\ntraining: {env_step: 1}\n"
    )
    message = r"^conf/preset/recurrent_walker.yaml: training.env_step: training has no key"
    with pytest.raises(ConfigError, match=message):
        check([])


def test_an_empty_section_is_open_but_must_stay_a_section():
    check(["+loss_scales.kl=2.0"])
    with pytest.raises(ConfigError, match="loss_scales: expected a section"):
        check(["loss_scales=3"])


def test_runtime_arguments_by_path_and_by_target():
    composed = compose([])
    for owner in ("algorithm.rssm", "harmony.fakes.RSSM"):
        check_nodes(composed, {owner: {"embed_size"}})
    with pytest.raises(ConfigError, match="needs 'embed_size'"):
        check_nodes(composed, {"algorithm": {"embed_size"}})


def test_a_schema_closes_a_section_of_a_group():
    @dataclasses.dataclass
    class Parts:
        rssm: "fakes.RSSM"

    Parts.__init__.__annotations__["rssm"] = fakes.Callable[..., fakes.RSSM]
    check([], schemas={"algorithm": Parts})
    with pytest.raises(ConfigError, match="Parts has no argument 'rsm'; did you mean 'rssm'"):
        check(["+algorithm.rsm=1"], schemas={"algorithm": Parts})
    cell = "{_target_: harmony.fakes.GRU, _partial_: true, units: 3}"
    with pytest.raises(ConfigError, match=r"algorithm\.rssm: GRU is not a RSSM"):
        check(["~algorithm.rssm", f"+algorithm.rssm={cell}"], schemas={"algorithm": Parts})
    with pytest.raises(ConfigError, match="expected a section"):
        check([], schemas={"seed": Parts})


def test_nodes_in_lists_are_checked(conf):
    (conf / "env" / "walker.yaml").write_text(
        "_target_: harmony.fakes.Holder\ncells: [{_target_: harmony.fakes.GRU, unit: 3}]\n"
    )
    with pytest.raises(ConfigError, match=r"env.cells\[0\].unit: GRU has no argument 'unit'"):
        check([])
