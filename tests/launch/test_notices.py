from launch.notices import tell_of_python, tell_of_shell


def test_what_the_shell_sets_for_sbatch_is_not_used_without_a_word(caplog):
    shell = {"SBATCH_ACCOUNT": "lab", "SBATCH_RESERVATION": "icml", "SBATCH_PARTITION": ""}
    tell_of_shell({"account": None}, shell)
    assert caplog.messages == [
        "SBATCH_ACCOUNT=lab is set in the shell and not used: to use it, add "
        "hydra.launcher.account=lab",
        "SBATCH_RESERVATION=icml is set in the shell and not used: to use it, add "
        "hydra.launcher.reservation=icml",
    ]
    caplog.clear()
    tell_of_shell({"account": "own", "additional_parameters": {"reservation": "x"}}, shell)
    assert caplog.messages == []


def test_an_interpreter_that_is_not_here(caplog):
    for python in (None, "python3", "/bin/sh"):
        tell_of_python({"python": python})
    assert caplog.messages == []
    tell_of_python({"python": "/no/such/python"})
    (line,) = caplog.messages
    assert line.startswith("hydra.launcher.python=/no/such/python: no program here")
