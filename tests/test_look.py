"""Sheets and videos of random actions."""

import imageio.v3 as imageio
import imageio_ffmpeg
import numpy as np
import pytest

from harmony import look as module
from harmony.build import build_env
from harmony.config.compose import compose
from harmony.envs.stream import EpisodeStream
from harmony.errors import ConfigError
from harmony.look import main, parse, sheet, spread, watch
from harmony.training.seeding import Seeds

PROBE = ("env=probe", "env.image_size=8", "env.length=6")
COUNTING = ("env._target_=harmony.envs.probe.CountingEnv",)


def ask(*arguments):
    return parse([*PROBE, *arguments])


class TestParse:
    def test_defaults(self):
        asked = ask()
        assert (asked.episodes, asked.frames, asked.steps, asked.evaluation) == (3, 8, 100, False)
        assert str(asked.out) == "look"
        assert asked.composed.choices["env"] == "probe"
        assert asked.composed.config["env"]["length"] == 6

    def test_own_keys_are_no_overrides(self):
        asked = ask("out=x", "episodes=1", "frames=2", "steps=3", "evaluation=true", "seed=7")
        assert asked.composed.overrides == [*PROBE, "seed=7"]
        assert (asked.episodes, asked.frames, asked.steps, asked.evaluation) == (1, 2, 3, True)

    @pytest.mark.parametrize(
        ("argument", "message"),
        [
            ("episodes=0", "episodes must be at least 1, got 0"),
            ("frames=few", "frames must be a whole number, got 'few'"),
            ("steps=-1", "steps must be a whole number"),
            ("evaluation=1", "evaluation must be true or false, got '1'"),
            ("env.lenght=4", "env.lenght: env has no key 'lenght'"),
        ],
    )
    def test_nonsense_is_refused(self, argument, message):
        with pytest.raises(ConfigError, match=message):
            ask(argument)

    def test_an_env_is_needed(self):
        with pytest.raises(ConfigError, match=r"^env=\.\.\. is missing; usage: "):
            parse(["episodes=3"])


class TestSpread:
    @pytest.mark.parametrize(
        ("length", "count", "expected"),
        [
            (1, 8, [0]),
            (3, 8, [0, 1, 2]),
            (3, 3, [0, 1, 2]),
            (101, 5, [0, 25, 50, 75, 100]),
            (9, 4, [0, 3, 5, 8]),
            (5, 1, [0]),
        ],
    )
    def test_first_and_last_and_evenly_between(self, length, count, expected):
        assert spread(length, count) == expected


class TestSheet:
    def test_worked_by_hand(self):
        """Two episodes of 1 x 1 pixels: three frames of one, one of the other; cells of 128."""
        reds = np.arange(1, 4, dtype=np.uint8).reshape(3, 1, 1, 1) * np.ones(3, np.uint8)
        blues = np.full((1, 1, 1, 3), 9, np.uint8)
        picture = sheet([reds, blues], 2)
        assert picture.shape == (2 * 130 + 2, 2 * 130 + 2, 3)
        assert picture.dtype == np.uint8
        assert (picture[2:130, 2:130] == 1).all()
        assert (picture[2:130, 132:260] == 3).all()
        assert (picture[132:260, 2:130] == 9).all()
        assert (picture[132:260, 132:260] == 255).all()
        assert (picture[:2] == 255).all()
        assert (picture[:, 130:132] == 255).all()

    def test_pixels_are_repeated_and_keep_their_place(self):
        image = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
        picture = sheet([image], 1)
        assert picture.shape == (132, 132, 3)
        np.testing.assert_array_equal(picture[2:130:2, 2:130:2], image[0])
        np.testing.assert_array_equal(picture[3:130:2, 3:130:2], image[0])

    def test_large_images_stay_as_they_are(self):
        assert sheet([np.zeros((1, 128, 128, 3), np.uint8)], 1).shape == (132, 132, 3)


class TestWatch:
    def test_frames_are_those_that_training_would_begin_with(self):
        config = compose([*PROBE, *COUNTING]).config
        seeds = Seeds(config["seed"])
        stream = EpisodeStream(build_env(config), lambda k: seeds.integer("env", 0, k))
        for seen in watch(ask(*COUNTING, "episodes=2")):
            np.testing.assert_array_equal(seen.images[0], stream.reset()["image"])
            assert seen.images.shape == (7, 8, 8, 3)
            assert seen.end == "time limit"

    def test_episodes_are_left_after_some_steps(self):
        (seen,) = watch(ask("episodes=1", "steps=4"))
        assert len(seen.images) == 5
        assert seen.end == "left"

    def test_ends_are_told_apart(self):
        (seen,) = watch(ask("episodes=1", "env.terminates=true"))
        assert seen.end == "terminal"

    def test_the_seed_decides(self):
        def rewards(seed):
            return [seen.reward_sum for seen in watch(ask(f"seed={seed}"))]

        assert rewards(1) == rewards(1)
        assert rewards(1) != rewards(2)

    @pytest.mark.parametrize("kind", ["env.discrete=true", "env.nvec=[3,2]"])
    def test_every_kind_of_action(self, kind):
        assert len(list(watch(ask(kind)))) == 3

    def test_an_env_without_images_is_refused(self):
        with pytest.raises(ConfigError, match="shows no image, only vector; take env"):
            list(watch(ask("env.observation=vector")))

    @pytest.mark.parametrize("evaluation", ["true", "false"])
    def test_the_env_may_be_that_of_evaluations(self, monkeypatch, evaluation):
        import harmony.build

        told, make = [], harmony.build.build_env
        monkeypatch.setattr(
            harmony.build,
            "build_env",
            lambda config, **more: told.append(more["evaluation"]) or make(config, **more),
        )
        list(watch(ask(f"evaluation={evaluation}")))
        assert told == [evaluation == "true"]


class TestCommand:
    def test_writes_a_sheet_and_a_video_and_says_where(self, tmp_path, capsys):
        out = tmp_path / "deep" / "folder"
        assert main([*PROBE, f"out={out}", "episodes=2", "seed=4"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith("episode 0: 6 agent steps (time limit), return ")
        assert lines[0].endswith(", frames 8 x 8")
        assert lines[2:] == [f"sheet: {out}/probe-seed4.png", f"video: {out}/probe-seed4.mp4"]
        picture = imageio.imread(out / "probe-seed4.png")
        seen = list(watch(ask("episodes=2", "seed=4")))
        np.testing.assert_array_equal(picture, sheet([each.images for each in seen], 8))
        assert imageio_ffmpeg.count_frames_and_secs(str(out / "probe-seed4.mp4"))[0] == 14

    @pytest.mark.parametrize(
        ("argument", "message"),
        [
            ("env.length=four", "env.length: expected int, got str 'four'"),
            ("env=prob", "env=prob: no such option; did you mean 'probe'"),
            ("frames=0", "frames must be at least 1"),
            ("out=/proc/none/here", "out=/proc/none/here can't be made"),
        ],
    )
    def test_a_mistake_is_one_line_and_exit_code_2(self, tmp_path, capsys, argument, message):
        first = [f"out={tmp_path}"] if "out=" not in argument else []
        given = [argument] if argument.startswith("env=") else [*PROBE, argument]
        assert main([*first, *given]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
        assert list(tmp_path.iterdir()) == []

    def test_help(self, capsys):
        assert main(["--help"]) == 0
        shown = capsys.readouterr().out
        assert "python -m harmony.look env=ENV" in shown
        assert all(f"{key}=" in module.USAGE for key in module.KEYS)
