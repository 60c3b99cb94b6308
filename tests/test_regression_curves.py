"""The first losses of each algorithm, as they were when they were recorded.

Whoever changes them on purpose records them anew and says so under "Numerics" in CHANGELOG.md:

    REGRESSION_CURVES=record python -m pytest tests/test_regression_curves.py
"""

import json
import os
from pathlib import Path

import pytest
import torch

from tests import tiny

ALGORITHMS = ("dreamerv2", "dreamerv3", "dreamerv3_2025", "dreamerpro")
HERE = Path(__file__).parent
RECORD = HERE / "golden" / "regression_curves.json"
CHANGELOG = HERE.parent / "CHANGELOG.md"
UPDATES = 50
EXACT = 5
"""Updates that must be equal to float rounding; later ones may differ where a draw flips."""


def losses(algorithm: str) -> list[float]:
    """The total loss of each update."""
    overrides = (f"algorithm={algorithm}", "harmony=on")
    agent = tiny.agent(*overrides)
    found = []
    for update in range(UPDATES):
        metrics = agent.update(tiny.batch(*overrides, seed=update % 5))
        found.append(metrics["loss/total"].item())
    return found


@pytest.fixture(scope="module", params=ALGORITHMS)
def curve(request):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield request.param, losses(request.param)
    torch.set_num_threads(threads)


def test_the_recorded_losses_come_again(curve):
    algorithm, found = curve
    stored = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    if os.environ.get("REGRESSION_CURVES") == "record":
        stored.setdefault("curves", {})[algorithm] = [float(f"{x:.7g}") for x in found]
        RECORD.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    expected = stored["curves"][algorithm]
    message = (
        "losses changed; if on purpose, record them anew and say why in CHANGELOG.md, Numerics"
    )
    assert found[:EXACT] == pytest.approx(expected[:EXACT], rel=1e-4), message
    assert found == pytest.approx(expected, rel=0.05), message


def test_the_changelog_names_the_record():
    entry = json.loads(RECORD.read_text(encoding="utf-8"))["numerics_entry"]
    numerics = CHANGELOG.read_text(encoding="utf-8").split("### Numerics", 1)[1]
    assert entry in " ".join(numerics.split())
