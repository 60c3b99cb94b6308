"""Matching over enumerations of machines; those marked so were recorded, the others are made up."""

import os

import pytest

from harmony.envs import devices
from harmony.envs.devices import CUDA_DEVICE, EglDevice, Machine, choose_device, job_gpu

UUIDS = (
    "GPU-8f2e1c34-0000-0000-0000-000000000000",
    "GPU-8f2e77aa-0000-0000-0000-000000000000",
    "GPU-c0ffee00-0000-0000-0000-000000000000",
    "GPU-deadbeef-0000-0000-0000-000000000000",
)


def gpu(index, cuda, **more):
    return EglDevice(index, **{"starts": True, "cuda": cuda, **more})


def mesa(index, starts=True):
    return EglDevice(index, starts, software=True)


# Recorded: nine devices, four of them GPUs, in another order than CUDA's (RLinf, pull 1458).
FOUR = Machine(
    (
        gpu(0, 2), gpu(1, 3), gpu(2, 0), gpu(3, 1),
        *(EglDevice(index, starts=False, drm=f"/dev/dri/card{index - 3}") for index in range(4, 8)),
        mesa(8),
    ),
    UUIDS,
)  # fmt: skip
# Recorded: NVIDIA's own, Mesa's view of the same card, which refuses, and llvmpipe (VirtualGL,
# issue 10).
ONE = Machine(
    (gpu(0, 0), EglDevice(1, starts=False, drm="/dev/dri/card1"), mesa(2)), UUIDS[:1]
)  # fmt: skip
# Recorded: a machine without a GPU and with Mesa.
SOFTWARE = Machine((mesa(0),))
# A container without NVIDIA's EGL library.
COMPUTING = Machine((mesa(0),), UUIDS[:2])
# No Mesa beside NVIDIA's library.
NVIDIA_ONLY = Machine((gpu(0, 0), gpu(1, 1)), UUIDS[:2])
# A laptop of another maker.
LAPTOP = Machine((EglDevice(0, starts=True, drm="/dev/dri/card0"), mesa(1)))
NOTHING = Machine()


def chosen(machine, osmesa=True, **environ):
    choice = choose_device(machine, environ, osmesa=osmesa)
    return choice.backend, choice.device, choice.wished


class TestJobGpu:
    @pytest.mark.parametrize(
        ("environ", "expected"),
        [
            ({}, 0),
            ({"CUDA_VISIBLE_DEVICES": "2"}, 2),
            ({"CUDA_VISIBLE_DEVICES": " 3,1"}, 3),
            ({"CUDA_VISIBLE_DEVICES": "3,1", CUDA_DEVICE: "1"}, 1),
            ({CUDA_DEVICE: "3"}, 3),
            ({CUDA_DEVICE: "4"}, None),
            ({"CUDA_VISIBLE_DEVICES": "1", CUDA_DEVICE: "1"}, None),
            # As in CUDA, what follows a device that is not there does not count.
            ({"CUDA_VISIBLE_DEVICES": "7,1"}, None),
            ({"CUDA_VISIBLE_DEVICES": "2,-1,1", CUDA_DEVICE: "1"}, None),
            ({"CUDA_VISIBLE_DEVICES": ""}, None),
            ({"CUDA_VISIBLE_DEVICES": "-1"}, None),
            ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, None),
        ],
    )
    def test_numbers(self, environ, expected):
        assert job_gpu(FOUR, environ) == expected

    @pytest.mark.parametrize(
        ("visible", "expected"),
        [
            (UUIDS[3], 3),
            ("GPU-c0ff", 2),
            ("GPU-8f2e7", 1),
            ("GPU-8f2e", None),  # two begin so
            ("GPU-0000", None),
            ("MIG-5f4c1d1e-1111-2222-3333-444444444444", None),
        ],
    )
    def test_uuids_whole_and_cut_short(self, visible, expected):
        assert job_gpu(FOUR, {"CUDA_VISIBLE_DEVICES": visible}) == expected

    def test_slurm_names_a_gpu_of_a_node_that_shows_all(self):
        assert job_gpu(FOUR, {"SLURM_JOB_GPUS": "2,3"}) == 2
        assert job_gpu(FOUR, {"SLURM_JOB_GPUS": "2,3", CUDA_DEVICE: "1"}) == 3
        assert job_gpu(FOUR, {"SLURM_JOB_GPUS": "2,3", "SLURM_STEP_GPUS": "3"}) == 3

    def test_slurms_numbers_are_the_nodes_where_it_hides_the_others(self):
        assert job_gpu(ONE, {"SLURM_JOB_GPUS": "3"}) == 0
        assert job_gpu(NVIDIA_ONLY, {"SLURM_JOB_GPUS": "0,1", CUDA_DEVICE: "1"}) == 1

    def test_cuda_goes_before_slurm(self):
        given = {"CUDA_VISIBLE_DEVICES": "0", "SLURM_JOB_GPUS": "2", "SLURM_STEP_GPUS": "3"}
        assert job_gpu(FOUR, given) == 0

    def test_egl_may_know_devices_that_cuda_does_not_tell(self):
        assert job_gpu(Machine((gpu(0, 1), gpu(1, 0))), {"CUDA_VISIBLE_DEVICES": "1"}) == 1


class TestTheJobsGpuDraws:
    @pytest.mark.parametrize(("cuda", "egl"), [("0", 2), ("1", 3), ("2", 0), ("3", 1)])
    def test_in_another_order_than_cudas(self, cuda, egl):
        assert chosen(FOUR, CUDA_VISIBLE_DEVICES=cuda) == ("egl", egl, True)

    def test_by_uuid(self):
        assert chosen(FOUR, CUDA_VISIBLE_DEVICES=UUIDS[3]) == ("egl", 1, True)

    def test_the_second_of_two(self):
        given = {"CUDA_VISIBLE_DEVICES": "3,0", CUDA_DEVICE: "1"}
        assert chosen(FOUR, **given) == ("egl", 2, True)

    def test_beside_views_of_the_same_card_that_do_not_start(self):
        assert chosen(ONE) == ("egl", 0, True)

    def test_the_line(self):
        line = choose_device(FOUR, {"CUDA_VISIBLE_DEVICES": "3"}, osmesa=True).line
        assert line == "EGL device 1 of 9 (CUDA device 3) of this job"

    def test_a_second_entry_for_the_card_is_tried_where_the_first_does_not_start(self):
        twice = Machine((gpu(0, 0, starts=False), gpu(1, 0)), UUIDS[:1])
        assert chosen(twice) == ("egl", 1, True)


class TestFallbacks:
    def test_without_nvidias_egl_mesa_draws_and_that_is_no_good_sign(self):
        assert chosen(COMPUTING) == ("egl", 0, False)
        line = choose_device(COMPUTING, {}, osmesa=True).line
        assert line.startswith(
            "EGL device 0 of 1 (in software): no EGL device starts on CUDA device 0 of this job; "
        )
        assert "NVIDIA_DRIVER_CAPABILITIES=all" in line

    def test_without_mesa_too_osmesa_draws(self):
        computing = Machine((), UUIDS[:1])
        assert chosen(computing) == ("osmesa", None, False)
        assert "OSMesa, in software" in choose_device(computing, {}, osmesa=True).line

    def test_a_machine_without_a_gpu_draws_in_software_and_nothing_is_wrong(self):
        assert chosen(SOFTWARE) == ("egl", 0, True)
        assert chosen(NOTHING) == ("osmesa", None, True)
        line = choose_device(SOFTWARE, {}, osmesa=True).line
        assert line == "EGL device 0 of 1 (in software): no CUDA device here"

    @pytest.mark.parametrize("nothing", ["", "-1", "NoDevFiles"])
    def test_a_job_without_a_gpu_leaves_those_of_others_alone(self, nothing):
        assert chosen(FOUR, CUDA_VISIBLE_DEVICES=nothing) == ("egl", 8, True)
        assert chosen(NVIDIA_ONLY, CUDA_VISIBLE_DEVICES=nothing) == ("osmesa", None, True)

    def test_a_slice_of_a_gpu_cannot_draw(self):
        given = {"CUDA_VISIBLE_DEVICES": "MIG-5f4c1d1e"}
        assert chosen(FOUR, **given) == ("egl", 8, False)
        assert "'MIG-5f4c1d1e'" in choose_device(FOUR, given, osmesa=True).line

    def test_the_gpu_of_others_is_the_last_resort_and_said(self):
        assert chosen(NVIDIA_ONLY, osmesa=False, CUDA_VISIBLE_DEVICES="") == ("egl", 0, False)
        line = choose_device(NVIDIA_ONLY, {"CUDA_VISIBLE_DEVICES": ""}, osmesa=False).line
        assert "which is not this job's" in line

    def test_the_job_never_draws_on_another_gpu_while_software_is_there(self):
        broken = Machine((gpu(0, 0, starts=False), gpu(1, 1), mesa(2)), UUIDS[:2])
        assert chosen(broken) == ("egl", 2, False)

    def test_other_makers_gpus_draw_in_egls_order(self):
        assert chosen(LAPTOP) == ("egl", 0, True)
        assert "(/dev/dri/card0)" in choose_device(LAPTOP, {}, osmesa=True).line

    def test_nothing_can_draw(self):
        assert chosen(NOTHING, osmesa=False) == (None, None, False)

    def test_egl_that_could_not_be_asked_is_named(self):
        broken = Machine(problem="asking EGL ended with exit code -11")
        assert chosen(broken) == ("osmesa", None, False)
        assert "exit code -11" in choose_device(broken, {}, osmesa=True).line


class TestAsk:
    @pytest.fixture
    def script(self, tmp_path):
        def write(text):
            path = tmp_path / "query.py"
            path.write_text(text)
            return path

        return write

    def test_reads_what_the_script_prints(self, script):
        found = devices.ask(script("""print('''noise
{"egl": [{"extensions": "EGL_NV_device_cuda EGL_EXT_device_drm", "drm": "/dev/dri/card0",
          "cuda": 1, "starts": true},
         {"extensions": "EGL_MESA_device_software", "drm": "", "cuda": null, "starts": false}],
 "cuda": ["GPU-a", "GPU-b"]}'''.replace("\\n ", " "))"""))  # fmt: skip
        assert found == Machine(
            (
                EglDevice(0, starts=True, cuda=1, drm="/dev/dri/card0"),
                EglDevice(1, starts=False, software=True),
            ),
            ("GPU-a", "GPU-b"),
        )

    def test_the_script_sees_all_gpus(self, script, monkeypatch):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
        monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        found = devices.ask(
            script("""import json, os
seen = [os.environ.get("CUDA_VISIBLE_DEVICES", "all"), os.environ["CUDA_DEVICE_ORDER"]]
print(json.dumps({"egl": [], "cuda": seen}))""")
        )
        assert found.cuda == ("all", "PCI_BUS_ID")
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("import time; time.sleep(30)", "EGL did not answer in 0.3 s"),
            ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "exit code -11"),
            ("1 / 0", "exit code 1"),
            ("", "EGL could not be asked"),
            ("print('no json')", "EGL could not be asked"),
        ],
    )
    def test_a_driver_that_crashes_or_hangs_ends_nothing_else(self, script, text, problem):
        seconds = 0.3 if "sleep" in text else 30.0
        found = devices.ask(script(text), seconds)
        assert problem in found.problem
        assert (found.egl, found.cuda) == ((), ())

    def test_this_machine_answers(self):
        found = devices.this_machine()
        assert found.problem == ""
        assert [device.index for device in found.egl] == list(range(len(found.egl)))
        assert devices.this_machine() is found
