"""What is refused before anything starts."""

import pytest
import torch

from harmony.build import build_device, check, check_values
from harmony.config.compose import compose
from harmony.errors import ConfigError, UserError
from tests import tiny

WITHOUT_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")


class TestDevice:
    def test_cpu_and_auto(self):
        assert build_device("cpu").type == "cpu"
        expected = "cuda" if torch.cuda.is_available() else "cpu"
        assert build_device("auto").type == expected

    @WITHOUT_CUDA
    @pytest.mark.parametrize("name", ["cuda", "cuda:1"])
    def test_cuda_without_cuda_is_refused(self, name):
        with pytest.raises(ConfigError, match=rf"^device={name} needs a CUDA device .*0 found"):
            build_device(name)
        with pytest.raises(ConfigError, match=rf"^device={name} needs a CUDA device"):
            check_values(tiny.config(f"device={name}"))

    def test_an_index_that_is_not_there_is_refused(self, monkeypatch):
        monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
        assert build_device("cuda:1") == torch.device("cuda:1")
        with pytest.raises(ConfigError, match=r"device=cuda:2 needs a CUDA device .*2 found"):
            build_device("cuda:2")

    @pytest.mark.parametrize("name", ["gpu", "meta", "cpu:x", ""])
    def test_nonsense_is_refused(self, name):
        with pytest.raises(ConfigError, match="device must be auto, cpu, cuda or cuda:N"):
            build_device(name)


class TestCheckValues:
    def test_the_tiny_configuration_passes(self):
        check_values(tiny.config())

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ("precision=fp16", "precision=fp16 needs a CUDA device, got device=cpu"),
            ("seed=-1", "seed must be at least 0, got -1"),
            ("training.env_steps=0", r"training\.env_steps must be at least 1, got 0"),
            ("evaluation.episodes=0", r"evaluation\.episodes must be at least 1, got 0"),
            ("checkpoint.keep=1", r"checkpoint\.keep must be at least 2, got 1"),
        ],
    )
    def test_nonsense_is_refused_in_one_line(self, override, message):
        with pytest.raises(UserError, match=message) as caught:
            check_values(tiny.config(override))
        assert "\n" not in str(caught.value)


class TestCheck:
    @pytest.mark.parametrize(("algorithm", "size"), [("dreamerv2", "12m"), ("dreamerv3", "12m")])
    def test_a_size_that_the_algorithm_does_not_have_is_refused(self, algorithm, size):
        message = rf"^algorithm={algorithm} has no size=12m; take one of paper, tiny, micro"
        with pytest.raises(ConfigError, match=message):
            check(compose(["env=probe", "device=cpu", f"algorithm={algorithm}", f"size={size}"]))

    def test_a_part_that_no_algorithm_has_is_refused(self):
        with pytest.raises(ConfigError, match=r"algorithm\.rewrad.*did you mean 'reward'"):
            check(compose(["env=probe", "device=cpu", "+algorithm.rewrad=1"]))

    def test_a_part_that_is_missing_is_named(self):
        with pytest.raises(ConfigError, match="needs 'reward', which is missing"):
            check(compose(["env=probe", "device=cpu", "~algorithm.reward"]))
