"""Compares runs: python -m harmony.report RUNS ... [KEY=VALUE ...].

RUNS are run directories, sweeps or folders of runs, as paths or as names below HARMONY_RUNS;
with a KEY=VALUE alone, all runs there. Runs that differ in nothing but their seeds are one row:
mean and 95 % interval over seeds. What must not be mixed is refused; what does not count is named.

  metric=eval/return     what is compared
  at=last                or an env step, such as at=100_000
  baseline=harmony=off   what the others are compared with; none for no comparison
  out=DIR                writes report.md, table.csv, curves.csv, curves.png
  split=KEY,KEY          shows runs apart that differ in it, where they would be refused
  ignore=KEY,KEY         takes runs together that differ in it
  KEY=VALUE[,VALUE]      only runs that have it: env=dmc, env.task=walker_walk, seed=0,1,2

docs/report.md says how the numbers are made.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from harmony.analysis.aggregates import make_aggregates
from harmony.analysis.comparable import (
    Column,
    also_differs,
    by_values,
    check_facts,
    check_keys,
    check_length,
    check_metric,
    check_seeds,
    find_baseline,
    find_columns,
    is_of_arm,
)
from harmony.analysis.report_cells import check_some, make_cells
from harmony.analysis.report_document import Report, write_report
from harmony.config.cli import report_errors
from harmony.report_request import USAGE, Request, parse
from harmony.report_runs import choose, find_runs, load_run, read_run
from harmony.report_scales import scales

EXAMPLES = """\
examples:
  python -m harmony.report walker out=reports/walker     # a sweep
  python -m harmony.report runs/a runs/b runs/c at=200_000
  python -m harmony.report experiment=metaworld env.task=lever_pull,hammer
  python -m harmony.report weights baseline=harmony=fixed,harmony.reward=1
"""


def report(request: Request) -> Report:
    """Reads the runs, checks that they can be compared, and compares them.

    Raises:
        UserError: no such runs, or some that can't stand in one table.
    """
    question, by_suite = request.question, scales(request.question.metric)
    metrics = {question.metric, question.success, *(scale.metric for scale in by_suite.values())}
    paths, notes = find_runs(request.runs)
    stored = choose([read_run(path) for path in paths], request.filters)
    runs = [load_run(run, metrics) for run in stored]
    check_keys(runs, [*request.split, *request.ignore])
    check_metric(runs, question.metric)
    check_facts(runs, [*request.split, *request.ignore])
    columns = find_columns(runs, request.split, request.ignore)
    check_seeds(by_values(runs, columns))
    if question.at is None:
        check_length(runs, question.metric)
    baseline, said = find_baseline(runs, columns, question.baseline)
    question = question._replace(baseline=baseline)
    place, arm = sides(columns, baseline)
    cells = make_cells(runs, place, arm, question)
    check_some(cells, runs, question)
    aggregates, unshared = make_aggregates(cells, place, arm, by_suite, baseline)
    notes += [*said, *unshared, *also_differs(runs, columns, baseline, request.ignore)]
    notes += [f"taken together though they differ: {key}" for key in request.ignore]
    return Report(question, runs, place, arm, cells, aggregates, notes, request.command)


def sides(columns: Sequence[Column], baseline: Mapping[str, str]) -> tuple[list[Column], ...]:
    """Columns of the places, and of the arms that are compared in each of them."""
    factor = next(iter(baseline), "harmony")
    arm = [column for column in columns if is_of_arm(column.key, factor, baseline)]
    return [column for column in columns if column not in arm], arm


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; 2 where the user can mend what was wrong."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or "-h" in arguments or "--help" in arguments:
        sys.stdout.write(f"{__doc__}\n{USAGE}\n\n{EXAMPLES}")
        return 0
    with report_errors() as outcome:
        request = parse(arguments)
        found = report(request)
        sys.stdout.write(found.text())
        if request.out is not None:
            write_report(found, request.out)
            sys.stdout.write(f"\nwritten to {request.out}\n")
    return outcome.code


if __name__ == "__main__":
    sys.exit(main())
