import importlib
import subprocess
import sys

import numpy as np
import pytest

from harmony.envs.render import check_rendering
from harmony.errors import EnvError

pytestmark = pytest.mark.sim

# A red ball above the middle, a green one below it.
WORLD = """
<mujoco>
  <worldbody>
    <geom type="sphere" size="0.4" pos="0 0 1" rgba="1 0 0 1"/>
    <geom type="sphere" size="0.4" pos="0 0 -1" rgba="0 1 0 1"/>
    <camera pos="0 -4 0" xyaxes="1 0 0 0 0 1"/>
  </worldbody>
</mujoco>
"""


def make(size=16):
    check_rendering()
    import mujoco

    from harmony.envs.offscreen import Offscreen

    model = mujoco.MjModel.from_xml_string(WORLD)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return Offscreen(model, data, camera=0, size=size)


def test_the_first_row_is_the_bottom():
    image = make(16).draw()
    assert (image.shape, image.dtype) == ((16, 16, 3), np.uint8)
    red, green = image[..., 0].astype(int), image[..., 1].astype(int)
    assert (green > red + 50)[:8].any()
    assert (red > green + 50)[8:].any()
    assert not (red > green + 50)[:8].any()


def test_every_picture_is_an_array_of_its_own():
    offscreen = make()
    first = offscreen.draw()
    before = first.copy()
    offscreen.draw()[:] = 0
    np.testing.assert_array_equal(first, before)


def test_cameras_do_not_disturb_each_other():
    first, second = make(16), make(32)
    expected = first.draw(), second.draw()
    third = make(16)
    np.testing.assert_array_equal(third.draw(), expected[0])
    first.close()
    np.testing.assert_array_equal(second.draw(), expected[1])
    np.testing.assert_array_equal(third.draw(), expected[0])


def test_a_closed_camera_draws_no_more_and_closes_twice():
    offscreen = make()
    offscreen.close()
    offscreen.close()
    with pytest.raises(RuntimeError, match=r"expected an open camera"):
        offscreen.draw()


def test_a_failing_library_is_one_line(monkeypatch):
    backend = check_rendering()
    library = importlib.import_module(f"mujoco.{backend}")

    def fail(*_):
        raise ImportError("no driver\nat all")

    monkeypatch.setattr(library, "GLContext", fail)
    with pytest.raises(EnvError, match=f"={backend} can't draw here: no driver at all; install"):
        make()


def test_a_process_that_closes_nothing_ends_in_silence():
    code = (
        "from harmony.envs.dmc import DMC\n"
        "from harmony.envs.render import RenderQuality\n"
        "quality = RenderQuality(0, 0, cast_shadows=False, reflection=False)\n"
        "envs = [DMC(task='cartpole_balance', render=quality) for _ in range(2)]\n"
        "[env.reset(seed=0) for env in envs]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_changed_terrain_is_drawn_after_its_upload():
    check_rendering()
    import mujoco

    from harmony.envs.offscreen import Offscreen

    model = mujoco.MjModel.from_xml_string(
        '<mujoco><asset><hfield name="hill" nrow="4" ncol="4" size="1 1 1 .1"/></asset><worldbody>'
        '<light pos="0 0 3"/><geom type="hfield" hfield="hill"/>'
        '<camera pos="0 -3 2" xyaxes="1 0 0 0 0.5 1"/></worldbody></mujoco>'
    )
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    offscreen = Offscreen(model, data, camera=0, size=16)
    flat = offscreen.draw()
    model.hfield_data[5:7] = 1.0
    np.testing.assert_array_equal(offscreen.draw(), flat)
    offscreen.upload_terrain()
    assert (offscreen.draw() != flat).any()
