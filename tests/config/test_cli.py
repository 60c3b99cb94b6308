import os
import subprocess
import sys
from pathlib import Path

import pytest

from harmony.config.cli import help_text, parse, report_errors
from harmony.errors import ConfigError, UserError


def test_options_and_overrides_mix():
    found = parse(["seed=0,1", "-m", "harmony=on", "+x=1", "~y"])
    assert found.overrides == ["seed=0,1", "harmony=on", "+x=1", "~y"]
    assert found.multirun
    assert (found.show_config, found.help, found.version) == (False, False, False)
    assert parse(["--cfg", "job"]).show_config
    assert parse(["-h"]).help
    assert parse(["--version"]).version


@pytest.mark.parametrize(
    "argv", [["--seed", "1"], ["-x"], ["--cfg"], ["--cfg", "all"], ["--mult"], ["-m", "-c", "job"]]
)
def test_unknown_options_are_one_line(argv):
    with pytest.raises(ConfigError):
        parse(argv)


def test_help_lists_groups_and_every_option(conf):
    text = help_text(conf)
    assert "  env        hopper, walker\n" in text
    assert "  harmony    off, on\n" in text
    assert "run_dir=" in text
    assert max(map(len, text.splitlines())) <= 100


def test_report_errors(capsys):
    with report_errors() as outcome:
        raise UserError("two\n lines")
    assert outcome.code == 2
    assert capsys.readouterr().err == "error: two lines\n"
    with report_errors() as outcome:
        raise KeyboardInterrupt
    assert outcome.code == 130
    with report_errors() as outcome:
        outcome.code = 143
    assert outcome.code == 143
    assert capsys.readouterr().err == ""


def piped(body, more=()):
    """Runs code within `report_errors` into a pipe whose reader leaves after the first line."""
    code = "import sys\nfrom harmony.config.cli import report_errors\n"
    code += f"with report_errors() as outcome:\n    {body}\nsys.exit(outcome.code)\n"
    command = [sys.executable, *more, "-c", code]
    env = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    pipe, root = subprocess.PIPE, Path(__file__).parents[2]
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=root, env=env
    ) as process:
        assert process.stdout.readline() == "one\n"
        process.stdout.close()
        process.stdin.close()  # from here on it may print more
        return process.stderr.read(), process.wait()


FIRST = "print('one', flush=True); sys.stdin.read(); "


@pytest.mark.parametrize("more", [[], ["-u"]])
@pytest.mark.parametrize("count", [1, 100_000])
def test_a_reader_that_has_left_is_no_error(count, more):
    assert piped(f"{FIRST}print('two\\n' * {count})", more) == ("", 141)


def test_an_error_is_told_although_the_reader_has_left():
    body = FIRST + "print('two'); from harmony.errors import UserError; raise UserError('wrong')"
    assert piped(body) == ("error: wrong\n", 2)


def test_a_broken_pipe_of_something_else_is_an_error():
    with pytest.raises(BrokenPipeError), report_errors():
        raise BrokenPipeError
