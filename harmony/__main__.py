"""``python -m harmony``: read the command line, compose, check, and only then train."""

import importlib
import logging
import sys
from collections.abc import Sequence

import harmony
from harmony.config import cli
from harmony.config.conf_dir import find_conf_dir


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: arguments after the program's name; those of the process by default.

    Returns:
        Exit code: 0 done, 2 a mistake that the user can mend, 130 interrupted, else the run's.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for chatty in ("absl", "OpenGL"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    with cli.report_errors() as outcome:
        outcome.code = _run(cli.parse(sys.argv[1:] if argv is None else argv))
    return outcome.code


def _run(arguments: cli.Arguments) -> int:
    if arguments.help:
        sys.stdout.write(cli.help_text(find_conf_dir()))
        return 0
    if arguments.version:
        sys.stdout.write(f"harmony {harmony.__version__}\n")
        return 0
    return _compose_and_run(arguments)


def _compose_and_run(arguments: cli.Arguments) -> int:
    # imported here: Hydra would take most of the time of --help, torch that of --cfg job
    from harmony.config import check, sweep
    from harmony.config.compose import as_yaml
    from harmony.config.compose_many import check_all, compose_all

    importlib.import_module("launch.conf").register()  # found by name: it stands above this package
    overrides = sweep.as_typed(arguments.overrides)
    multirun = not arguments.show_config and (arguments.multirun or sweep.is_sweep(overrides))
    if multirun:
        importlib.import_module("launch.slurm").register()
        overrides = sweep.named(overrides)
    runs = compose_all(sweep.expand(overrides) if multirun else [overrides])
    check_all(runs, check.check_keys)
    if arguments.show_config:
        sys.stdout.write(as_yaml(runs[0].config))
        return 0
    sweep.check_distinct(runs)
    train = importlib.import_module("harmony.train")
    check_all(runs, train.check)
    if not multirun:
        return int(train.run(runs[0]))
    return sweep.launch(train.task, overrides, runs)


if __name__ == "__main__":
    sys.exit(main())
