import functools
import logging
import random
from pathlib import Path

import pytest

import harmony
from harmony.config import compose_many
from harmony.config.check import check_keys
from harmony.config.compose import compose
from harmony.config.compose_many import check_all, compose_all
from harmony.config.sweep import expand
from harmony.errors import ConfigError

PACKAGE = harmony.__file__
FAMILIES = [
    (),
    ("env=metaworld", "harmony=off", "size=tiny"),
    ("algorithm=dreamerv3", "preset=dreamerv3_dmc", "debug=smoke", "probe=decoder"),
    ("algorithm=dreamerv3_2025", "size=25m", "tracking=none", "hydra/launcher=basic"),
]
VALUES = [
    *("seed=3", "seed=-1", "seed=1_000", "seed=null", "seed=abc", "++seed=4", "seed=1.0"),
    *("training.env_steps=1e4", "training.env_steps=20_000", "training.train_ratio=1e-4"),
    *("training.nonfinite_limit=True", "training.nonfinite_limit=on", "training.train_ratio=.5"),
    *("evaluation.video=off", "evaluation.video=false", "evaluation.video=no"),
    *("checkpoint.every_minutes=-2.5", "checkpoint.every_minutes=inf", "checkpoint.keep=1e400"),
    *(
        "experiment='a, b=c'",
        'experiment="it\'s"',
        "experiment=a b",
        "experiment=''",
        "experiment=",
    ),
    *("experiment='1'", "experiment=on", "experiment=null", "run_dir='/data/a=b'", "run_dir=~/x"),
    *("experiment=${seed}", "experiment=seed-${seed}-${size.units}", "experiment=${env.task}"),
    *("experiment=${oc.env:HOME,x}", "experiment=${env}", "experiment=${oc.select:seed}"),
    *("runs_root=~/runs", "runs_root=/x/${seed}", "device=cuda:1", "init_from=a.ckpt", "sweep=s"),
    *("replay.batch_length=7", "replay.batch_size=${replay.batch_length}", "replay.min_length=9"),
    *("size.units=8", "size.deter=16", "size.depth=null", "env.task=a", "env.task='a,b'"),
    *("env.camera=2", "env.action_repeat=${size.units}", r"experiment='\${seed}'"),
    *("algorithm.style.act=relu", "algorithm.loss_scales=null", "algorithm.encoder.style=x"),
    *("algorithm.sizes=[tiny,x]", "algorithm.sizes=[]", "algorithm.sizes=null", "render=fast"),
    "run_dir=[1, 2.0, null, 'a', [on]]",
]
LONG_WAY = [
    *("~experiment", "+training.new=1", "++training.new=1", "~env.task", "harmony={}"),
    *("algorithm.encoder.style.act=relu", "harmony.loss_scales=[1]", "harmony.loss_scales={a: 1}"),
    *("experiment=${hydra.job.name}", "replay={batch_size: 1}", "replay=null", "latent@x=gaussian"),
    *("preset=${algorithm}_${env}", "hydra.searchpath=[]", "experiment=[1]"),
]


@pytest.fixture
def real_conf(monkeypatch):
    monkeypatch.setattr(harmony, "__file__", PACKAGE)


@pytest.fixture
def composed(monkeypatch):
    """The overrides of the runs that took the long way."""
    jobs, once = [], functools.cache(lambda *overrides: compose(overrides))

    def counted(overrides):
        jobs.append(list(overrides))
        return once(*overrides)

    monkeypatch.setattr(compose_many, "compose", counted)
    return jobs


def known(jobs):
    """What `compose` gives; jobs that it refuses are left out of both."""
    results = {}
    for job in jobs:
        try:
            results[tuple(job)] = repr(compose_many.compose(job))
        except ConfigError:
            continue
    return results


@pytest.mark.usefixtures("real_conf")
@pytest.mark.parametrize("number", range(len(FAMILIES)))
def test_the_same_as_one_by_one(number, composed, caplog, monkeypatch):
    monkeypatch.setattr(compose_many, "_SPREAD", 2)
    draw = random.Random(number)
    own = [draw.sample(VALUES, draw.randint(1, 4)) for _ in range(9)]
    jobs = [[*FAMILIES[number], *values] for values in own]
    jobs += [[*values, draw.choice(LONG_WAY), *FAMILIES[number]] for values in own[:3]]
    expected = known(jobs)
    composed.clear()
    runs = compose_all([list(job) for job in expected])
    assert [repr(run) for run in runs] == list(expected.values())
    assert 0 < len(composed) < len(expected)
    assert caplog.text == ""


@pytest.mark.usefixtures("real_conf")
@pytest.mark.parametrize("values", [(VALUES + LONG_WAY)[i::8] for i in range(8)])
@pytest.mark.usefixtures("composed")
def test_every_value_alone(values, caplog):
    expected = known([value] for value in values)
    runs = compose_all([list(job) for job in expected])
    assert [repr(run) for run in runs] == list(expected.values())
    assert caplog.text == ""


@pytest.mark.usefixtures("real_conf")
def test_a_sweep_composes_each_set_of_choices_and_a_few_runs(composed):
    seeds = ",".join(map(str, range(40)))
    jobs = expand([f"seed={seeds}", "harmony=on,off", "env.task=walker_walk,cheetah_run"])
    runs = compose_all(jobs)
    assert len(runs) == 160
    assert len(composed) <= 2 + 8
    for index in (1, 78, 158):
        assert repr(runs[index]) == repr(compose(jobs[index]))


def test_by_hand():
    jobs = expand(["seed=0,1,2,3", "harmony=on,off", "training.rate=1e-4"])
    runs = compose_all(jobs)
    assert [run.overrides for run in runs] == jobs
    assert [run.config["seed"] for run in runs] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [run.choices["harmony"] for run in runs] == ["on", "off"] * 4
    assert {run.config["training"]["rate"] for run in runs} == {1e-4}


def test_runs_share_nothing_that_can_change():
    first, second = compose_all([[f"seed={seed}"] for seed in range(9)])[3:5]
    first.config["training"]["rate"] = first.choices["env"] = "changed"
    assert second.config["training"]["rate"] == 0.5
    assert second.choices["env"] == "walker"


def test_what_is_not_set_may_be_set_by_the_run(composed):
    jobs = [["env=hopper", f"env.time_limit={limit}"] for limit in range(20)]
    assert [run.config["env"]["time_limit"] for run in compose_all(jobs)] == list(range(20))
    assert len(composed) == 8


def test_a_value_that_follows_another_section_follows_the_run(conf):
    (conf / "harmony" / "on.yaml").write_text("a: ${algorithm.b}\nc: ${evaluation}\n")
    with (conf / "algorithm" / "recurrent.yaml").open("a") as file:
        file.write("b: ${training.env_steps}\n")
    runs = compose_all([[f"training.env_steps={n}", f"evaluation.episodes={n}"] for n in range(20)])
    assert [run.config["harmony"] for run in runs] == [
        {"a": n, "c": {"episodes": n}} for n in range(20)
    ]


@pytest.mark.parametrize(
    "value", ["${hydra.job.override_dirname}", "${.rate}", "${oc.select:seed}"]
)
def test_odd_interpolations_follow_the_run(conf, value):
    text = (conf / "config.yaml").read_text()
    (conf / "config.yaml").write_text(text.replace("video: true", f"video: {value}"))
    jobs = [[f"seed={n}", f"training.rate={n}"] for n in range(10)]
    assert [repr(run) for run in compose_all(jobs)] == [repr(compose(job)) for job in jobs]


@pytest.mark.parametrize(
    "wrong",
    [
        "env=wakler",
        "preset=nope",
        "algorithm.rssm.detr=200",
        "seed.x=1",
        "seeed=1",
        "env=hopper",
        "seed=0,1",
        "+seed=1",
        "++env=walker",
        "env@foo=walker",
        "env=null",
        "~seed=3",
        "seed=[1",
        "training.rate=${nowhere}",
        "hydra.run.dir=x",
        "hydra.nothing=x",
    ],
)
def test_a_mistake_is_that_of_compose_and_names_the_run(wrong, monkeypatch):
    monkeypatch.setattr(compose_many, "_SPREAD", 2)
    jobs = [[f"seed={n}", "device=cpu"] for n in range(7)]
    jobs[5].append(wrong)
    with pytest.raises(ConfigError) as alone:
        compose(jobs[5])
    with pytest.raises(ConfigError) as caught:
        compose_all(jobs)
    assert str(caught.value) == f"{alone.value} (in run 6 of 7: seed=5 {wrong})"


def test_the_error_of_one_run_is_that_of_compose():
    with pytest.raises(ConfigError) as alone:
        compose(["seeed=1"])
    with pytest.raises(ConfigError) as caught:
        compose_all([["seeed=1"]])
    assert str(caught.value) == str(alone.value)


def test_a_mistake_of_all_runs_names_the_first():
    with pytest.raises(ConfigError, match=r"\(in run 1 of 2: seeed=1\)$"):
        compose_all([["seeed=1"], ["seeed=1"]])


def test_every_run_is_checked_and_named():
    runs = compose_all([["device=cpu", f"seed={n}"] for n in (*range(9), "abc")])
    with pytest.raises(ConfigError, match=r"'seed=abc': seed: .* \(in run 10 of 10: seed=abc\)$"):
        check_all(runs, check_keys)
    check_all(runs[:9], check_keys)


def test_a_difference_sends_every_run_the_long_way(monkeypatch, caplog):
    short = compose_many._Tree.composed

    def wrong(self, job):
        run = short(self, job)
        run.config["seed"] += 1
        return run

    monkeypatch.setattr(compose_many._Tree, "composed", wrong)
    runs = compose_all([[f"seed={seed}"] for seed in range(9)])
    assert [run.config["seed"] for run in runs] == list(range(9))
    assert "differs from Hydra in 'seed=0'; composing each run by itself" in caplog.text


def test_large_sweeps_say_how_far_they_are(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(compose_many, "_EVERY_S", 0.0)
    monkeypatch.setattr(compose_many, "_MANY", 5)
    runs = compose_all([[f"seed={seed}"] for seed in range(6)])
    assert caplog.messages[0] == "composed 1 of 6 runs"
    caplog.clear()
    check_all(runs, check_keys)
    assert caplog.messages[-1] == "checked 6 of 6 runs"
    caplog.clear()
    compose_all([[f"seed={seed}"] for seed in range(5)])
    assert caplog.messages == []


def test_the_files_are_the_real_ones():
    assert (Path(PACKAGE).parents[1] / "conf" / "algorithm" / "dreamerv3.yaml").is_file()
