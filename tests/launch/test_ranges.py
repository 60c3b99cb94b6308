import pytest

from harmony.errors import ConfigError
from launch.ranges import check_ranges
from tests.launch.submitting import launcher_params


@pytest.mark.parametrize("launcher", ["slurm", "slurm_dev", "local", "sites/example"])
def test_what_comes_with_the_launchers_is_in_range(launcher):
    check_ranges(launcher_params(launcher, ()))


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        ("timeout_min", 0, "timeout_min=0: expected at least 1 minute"),
        ("signal_delay_s", 0, "signal_delay_s=0: expected at least 10 seconds"),
        ("nodes", 0, "expected at least 1 node"),
        ("nodes", 2, "nodes=2: a run is on one node, the other one would idle; take nodes=1"),
        ("nodes", 3, "the 2 others would idle"),
        ("tasks_per_node", -1, "expected at least 1 process"),
        ("gpus_per_node", -1, "expected at least 0 GPUs"),
        ("gpus_per_task", 0, "expected at least 1 GPU, or null"),
        ("cpus_per_task", 0, "expected at least 1 core, or null"),
        ("cpus_per_gpu", 0, "expected at least 1 core, or null"),
        ("mem_gb", 0, "expected at least 1 GB, or null"),
        ("runs_per_gpu", 0, "expected at least 1 run"),
        ("slots", 0, "slots=0: expected at least 1 run at a time"),
        ("array_parallelism", 0, "expected at least 1 job at a time"),
        ("max_num_timeout", -1, "expected at least 0 time-outs"),
        ("max_crashes", -1, "expected at least 0 crashes"),
    ],
)
def test_numbers_out_of_range_are_refused(key, value, part):
    launcher = "local" if key == "slots" else "slurm"
    with pytest.raises(ConfigError, match=part) as caught:
        check_ranges({**launcher_params(launcher, ()), key: value})
    assert str(caught.value).startswith(f"hydra.launcher.{key}={value}: ")
    assert "\n" not in str(caught.value)


def test_what_is_not_asked_for_has_no_range():
    none = dict.fromkeys(("gpus_per_node", "cpus_per_task", "mem_gb", "gpus_per_task"))
    check_ranges({**launcher_params("slurm", ()), **none})
    check_ranges({"gpus_per_node": 0, "max_crashes": 0, "max_num_timeout": 0})
    check_ranges({})


def test_memory_is_asked_for_once():
    with pytest.raises(ConfigError, match=r"mem_per_cpu=2G: mem_gb=32 is set too.*mem_gb=null"):
        check_ranges({"mem_per_cpu": "2G", "mem_per_gpu": None, "mem_gb": 32})
    check_ranges({"mem_per_cpu": "2G", "mem_per_gpu": None, "mem_gb": None})
