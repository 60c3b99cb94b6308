import pytest

from harmony.config.compose import compose
from harmony.config.sweep import as_typed, check_distinct, expand, is_sweep, named
from harmony.errors import ConfigError


def test_expand_is_the_product_in_order():
    assert expand(["seed=0,1", "harmony=on,off", "training.rate=0.1"]) == [
        ["seed=0", "harmony=on", "training.rate=0.1"],
        ["seed=0", "harmony=off", "training.rate=0.1"],
        ["seed=1", "harmony=on", "training.rate=0.1"],
        ["seed=1", "harmony=off", "training.rate=0.1"],
    ]
    assert expand(["seed=range(2)"]) == [["seed=0"], ["seed=1"]]
    assert expand([]) == [[]]


def test_expand_keeps_the_overrides_of_hydra_and_its_sweep_parameters(conf):
    assert expand(["hydra/launcher=basic", "seed=0"]) == [["hydra/launcher=basic", "seed=0"]]
    with (conf / "config.yaml").open("a") as file:
        file.write("hydra: {sweeper: {params: {seed: '0,1'}}}\n")
    assert expand(["harmony=off"]) == [["seed=0", "harmony=off"], ["seed=1", "harmony=off"]]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("env=walker,hoper", "hoper"),
        ("algorithm.rssm.detr=1,2", "did you mean 'deter'"),
        ("seed=interval(0,1)", "interval"),
        ("seed=[", "not a readable override"),
    ],
)
def test_a_mistake_in_one_run_is_found_before_any_starts(override, message):
    with pytest.raises(ConfigError, match=message):
        [compose(job) for job in expand([override])]


def test_named_keeps_a_name_and_makes_one():
    assert named(["seed=0", "sweep=mine"]) == ["seed=0", "sweep=mine"]
    assert named(["seed=0"])[1].startswith("sweep=sweep-")
    with pytest.raises(ConfigError, match="expected letters"):
        named(["sweep=a,b"])


@pytest.mark.parametrize("name", ["2026_11_21", "2026", "1e3", "true", "No", "nan", "0x1", "1.50"])
def test_a_name_stays_what_was_typed(name):
    given = named(["seed=0,1", f"sweep={name}"])
    assert named(given) == given
    for job in expand(given):
        assert compose(job).config["sweep"] == name
    assert compose(as_typed([f"sweep={name}"])).config["sweep"] == name


def test_what_is_understood_stays():
    same = ["seed=0", "sweep=mine", "harmony=on", "sweep='2026'", "sweep=null", "sweep=a,b", "~x"]
    assert as_typed(same) == same
    assert named(["sweep='2026'"]) == ["sweep='2026'"]


def test_more_options_of_sbatch_need_no_plus():
    given = ["hydra.launcher.additional_parameters={mail-user: me@example.org}", "seed=0"]
    assert as_typed(given) == [f"++{given[0]}", "seed=0"]
    assert as_typed([f"+{given[0]}"]) == [f"+{given[0]}"]


def test_only_launchers_other_than_basic_mean_a_sweep():
    assert is_sweep(["seed=0", "hydra/launcher=slurm"])
    assert not is_sweep(["seed=0", "hydra/launcher=basic"])
    assert not is_sweep([])


def test_runs_that_would_share_a_directory_are_refused():
    runs = [compose(["sweep=s", f"device={device}"]) for device in ("cpu", "cuda")]
    with pytest.raises(ConfigError, match=r"same run \(sweep=s device=cpu; sweep=s device=cuda\)"):
        check_distinct(runs)
    check_distinct([compose([]), compose([])])  # new names, no clash
