"""Asks a trained world model what it knows: python -m harmony.probe run=RUN target=state.

target=state reads the simulator's state off the feats; target=reward predicts rewards and frames
from actions alone and draws them beside the truth. RUN is a run directory, or an MLflow run id
whose directory lies below runs_root. docs/probes.md explains every key.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from harmony.config.cli import report_errors
from harmony.probe_request import OWN, SHARED, Request, parse, usage
from harmony.stored_run import StoredRun, load_actor, load_run, results_folder, results_stem

if TYPE_CHECKING:
    from harmony.training.probing import Watched


def probe(request: Request) -> dict[str, Any]:
    """Runs the episodes, asks, and writes the answer below probes/ of the run.

    Raises:
        UserError: no such run, no weights, or something that the target needs is missing.
    """
    from harmony.probe_reward import probe_reward
    from harmony.probe_state import probe_state

    run = load_run(request.run, request.checkpoint, request.overrides)
    stem = results_folder(run.path, "probes") / results_stem(
        request.target,
        request.checkpoint,
        f"seed{request.seed}",
        f"{request.episodes}episodes",
        settings=request.settings,
    )
    started = time.time()
    ask = {"state": probe_state, "reward": probe_reward}[request.target]
    asked = {key: getattr(request, key) for key in SHARED | OWN[request.target]}
    asked |= {"policy": str(request.policy or run.path), "overrides": request.overrides}
    answer = asked | {"target": request.target} | ask(request, run, _watch(request, run), stem)
    answer["seconds"] = round(time.time() - started, 1)
    path = stem.with_suffix(".json")
    path.write_text(json.dumps(answer, indent=2) + "\n")
    run.env.close()
    return answer | {"file": str(path)}


def _watch(request: Request, run: StoredRun) -> Iterator[Watched]:
    """The episodes, one after the other, with a bar where a person looks."""
    from rich.console import Console
    from rich.progress import track

    from harmony.training.probing import watch
    from harmony.training.seeding import Seeds

    actor = run.agent
    if request.policy is not None:
        actor = load_actor(request.policy, request.checkpoint, request.overrides, run)
    yield from track(
        watch(run.env, actor, Seeds(request.seed), request.episodes, request.random),
        "episodes",
        total=request.episodes,
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; 2 where the user can mend what was wrong."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(f"{__doc__}\n{usage()}\n")
        return 0
    with report_errors() as outcome:
        from harmony.probe_reward import reward_lines
        from harmony.probe_state import state_lines

        request = parse(arguments)
        lines = {"state": state_lines, "reward": reward_lines}[request.target]
        sys.stdout.write("\n".join(lines(probe(request))) + "\n")
    return outcome.code


if __name__ == "__main__":
    sys.exit(main())
