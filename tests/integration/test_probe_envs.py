"""Every algorithm solves probes with known answers; `benchmarks/probe_envs.py` prints the table."""

import itertools

import pytest
import torch

from benchmarks import probe_cells, probe_envs
from benchmarks.probe_cells import ALGORITHMS, HARMONIES, PROBES, Reading, expected_value

CELLS = list(itertools.product(ALGORITHMS, HARMONIES, PROBES))


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "harmony", "probe"), CELLS, ids="-".join)
def test_every_cell_is_solved_within_its_limit(algorithm, harmony, probe):
    row = probe_envs.solve(algorithm, harmony, probe)
    assert row.reached.solved, probe_envs.markdown(row)
    assert row.updates <= PROBES[probe].limits[algorithm]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_learns_what_to_do(algorithm):
    row = probe_envs.solve(algorithm, "on", "action_reward", in_a_row=1)
    assert not row.before.solved
    assert row.reached.solved, probe_envs.markdown(row)


def test_values_by_hand():
    """Discount 0.8, four steps: 1 / (1 - 0.8) = 5; (1 - 0.8 ** 4) / (1 - 0.8) = 2.952."""
    assert probe_cells.DISCOUNT == 0.8
    assert probe_cells.LENGTH == 4

    def values(**kind):
        return [expected_value(step, **kind) for step in range(4)]

    assert values(own_reward=False, terminates=False) == pytest.approx([5, 5, 5, 5])
    assert values(own_reward=True, terminates=False) == pytest.approx([4, 5, 5, 5])
    # Rewards to come: 1 + 0.8 + 0.64 + 0.512 and so on.
    later = [2.952, 2.44, 1.8, 1.0]
    assert values(own_reward=False, terminates=True) == pytest.approx(later)
    # None yet at the first picture; at the others the one that came with it: 1 + 0.8 * later.
    own = [0.8 * 2.952, 2.952, 2.44, 1.8]
    assert values(own_reward=True, terminates=True) == pytest.approx(own)


def test_a_limit_that_is_passed_ends_with_one(monkeypatch, capsys):
    never = PROBES["action_reward"]._replace(
        read=lambda trainer: Reading(False, f"{trainer.agent.updates}"), limits={"dreamerv2": 50}
    )
    monkeypatch.setitem(probe_cells.PROBES, "action_reward", never)
    given = ["--algorithms", "dreamerv2", "--harmonies", "off", "--probes", "action_reward"]
    assert probe_envs.main(given) == 1
    row = capsys.readouterr().out.splitlines()[-1]
    assert "| dreamerv2 | off | action_reward |" in row
    assert "| 0 | 100 | not in 100 | 50 |" in row


def test_one_good_check_is_not_enough(monkeypatch):
    good = iter([True, True, False, True, True])
    picked = PROBES["action_reward"]._replace(
        read=lambda trainer: Reading(next(good), f"{trainer.agent.updates}"),
        limits={"dreamerv2": 200},
    )
    monkeypatch.setitem(probe_cells.PROBES, "action_reward", picked)
    monkeypatch.setattr(probe_envs, "EVERY", 2)
    row = probe_envs.solve("dreamerv2", "off", "action_reward")
    assert (row.updates, row.reached.shown) == (6, "6")
