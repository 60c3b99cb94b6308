import pytest

from harmony.config.identity import changes, check_same_run, flatten, identity
from harmony.errors import RunDirectoryError

CONFIG = {
    "seed": 0,
    "device": "cpu",
    "env": {"task": "walk", "render": {"samples": 4}},
    "replay": {"capacity": 10, "keep": "all"},
    "training": {"env_steps": 100, "rate": 0.5},
    "evaluation": {"episodes": 3},
    "free": {},
}


def with_(**leaves):
    config = {key: dict(v) if isinstance(v, dict) else v for key, v in CONFIG.items()}
    for key, value in leaves.items():
        section, _, name = key.rpartition("__")
        (config[section] if section else config)[name] = value
    return config


def test_flatten_names_leaves_and_keeps_lists_and_empty_sections():
    assert flatten({"a": {"b": 1, "c": [1, {"d": 2}]}, "e": {}}) == {
        "a.b": 1,
        "a.c": [1, {"d": 2}],
        "e": {},
    }


@pytest.mark.parametrize(
    "free",
    [
        {"device": "cuda"},
        {"evaluation__episodes": 9},
        {"training__env_steps": 5},
        {"replay__keep": "none"},
        {"env__render": {"samples": 0}},
        {"env__python": "/other/python", "env__checkout": "/other", "env__timeout_s": 9.0},
        {"run_dir": "/x"},
        {"sweep": "s"},
        {"tracking": {"keys": []}},
    ],
)
def test_machine_keys_are_no_part_of_the_identity(free):
    assert identity(with_(**free)) == identity(CONFIG)


@pytest.mark.parametrize(
    "own", [{"seed": 1}, {"env__task": "hop"}, {"training__rate": 0.25}, {"replay__capacity": 9}]
)
def test_everything_else_is(own):
    assert identity(with_(**own)) != identity(CONFIG)
    with pytest.raises(RunDirectoryError, match=next(iter(own)).replace("__", ".")):
        check_same_run("runs/x", CONFIG, with_(**own))


def test_folders_of_pictures_and_videos_may_move_but_not_come_or_go():
    old, new, none = ({"env": {"clips": clips}} for clips in ("/old", "/new", None))
    check_same_run("runs/x", old, new)
    assert changes(old, new) == {"env.clips": "/new"}
    # Another folder asked for in a sweep is another run.
    assert identity(old) != identity(new)
    for one, other in ((old, none), (none, old)):
        with pytest.raises(RunDirectoryError, match=r"differ in env\.clips"):
            check_same_run("runs/x", one, other)
    check_same_run("runs/x", {"env": {"textures": "a"}}, {"env": {"textures": "b"}})


def test_the_order_of_what_varies_means_nothing():
    one, other = ({"env": {"vary": vary}} for vary in (["bg", "floor"], ["floor", "bg"]))
    check_same_run("runs/x", one, other)
    assert changes(one, other) == {}
    assert identity(one) == identity(other)
    assert identity({"env": {"vary": ["bg"]}}) != identity(one)
    assert identity({"a": [1, 2]}) != identity({"a": [2, 1]})


def test_changes_names_what_differs():
    assert changes(CONFIG, with_(seed=True, training__rate=0.25)) == {
        "seed": True,
        "training.rate": 0.25,
    }
    assert changes({"a": 0}, {"a": False}) == {"a": False}
    assert changes({"a": 0}, {}) == {"a": None}
    assert changes({"a": 1}, {"a": 1.0}) == {}


def test_a_refusal_names_keys_and_both_values_in_one_line():
    with pytest.raises(RunDirectoryError) as caught:
        check_same_run("runs/x", CONFIG, with_(seed=3, extra=1))
    assert str(caught.value) == (
        "runs/x is another run, they differ in extra (has nothing, got 1), seed (has 0, got 3); "
        "repeat the overrides that began it, or take another run_dir"
    )


def test_at_most_five_keys_are_shown():
    other = {f"k{i}": i for i in range(8)}
    with pytest.raises(RunDirectoryError, match=r"k4 \(has nothing, got 4\) and 3 more; repeat"):
        check_same_run("runs/x", {}, other)


def test_steps_only_grow():
    check_same_run("runs/x", CONFIG, with_(training__env_steps=100))
    check_same_run("runs/x", CONFIG, with_(training__env_steps=101))
    with pytest.raises(RunDirectoryError, match="can only grow, it was 100, got 99"):
        check_same_run("runs/x", CONFIG, with_(training__env_steps=99))
