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
