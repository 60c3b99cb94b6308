import numpy as np
import pytest

from harmony.envs.render import RenderQuality, check_rendering
from harmony.errors import EnvError

WORLD = """
<mujoco>
  <asset><material name="shiny" reflectance="0.5"/></asset>
  <worldbody>
    <light pos="0.5 0 3" castshadow="true"/>
    <geom type="plane" size="2 2 .1" material="shiny" rgba="0.9 0.9 0.9 1"/>
    <geom type="sphere" size="0.3" pos="0 0 0.8" rgba="1 0 0 1"/>
    <camera pos="0 -3 2" xyaxes="1 0 0 0 0.5 1"/>
  </worldbody>
</mujoco>
"""


def picture(quality, size=32):
    check_rendering()
    import mujoco

    from harmony.envs.offscreen import Offscreen

    model = mujoco.MjModel.from_xml_string(WORLD)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    quality.apply(model)
    offscreen = Offscreen(model, data, camera=0, size=size)
    image = offscreen.draw()
    offscreen.close()
    return image.astype(np.int32)


def test_quality_is_written_into_the_model():
    mujoco = pytest.importorskip("mujoco")
    model = mujoco.MjModel.from_xml_string(WORLD)
    RenderQuality(shadow_size=512, samples=2, cast_shadows=True, reflection=True).apply(model)
    assert (model.vis.quality.shadowsize, model.vis.quality.offsamples) == (512, 2)
    assert model.light_castshadow.all()
    assert model.mat_reflectance.tolist() == [0.5]
    RenderQuality(shadow_size=0, samples=0, cast_shadows=False, reflection=False).apply(model)
    assert (model.vis.quality.shadowsize, model.vis.quality.offsamples) == (0, 0)
    assert not model.light_castshadow.any()
    assert model.mat_reflectance.tolist() == [0.0]


@pytest.mark.parametrize(("shadow_size", "samples"), [(-1, 0), (0, -4)])
def test_negative_sizes_are_refused(shadow_size, samples):
    with pytest.raises(EnvError, match=f"of 0 or more, got {shadow_size} and {samples}"):
        RenderQuality(shadow_size, samples, cast_shadows=True, reflection=True)


@pytest.mark.sim
def test_each_quality_changes_the_picture():
    plain = picture(RenderQuality(0, 0, cast_shadows=False, reflection=False))
    for quality in (
        RenderQuality(512, 0, cast_shadows=True, reflection=False),
        RenderQuality(0, 4, cast_shadows=False, reflection=False),
        RenderQuality(0, 0, cast_shadows=False, reflection=True),
    ):
        assert np.abs(picture(quality) - plain).max() > 8


@pytest.mark.sim
def test_without_a_shadow_map_casting_shadows_has_no_effect():
    casting = picture(RenderQuality(0, 0, cast_shadows=True, reflection=False))
    plain = picture(RenderQuality(0, 0, cast_shadows=False, reflection=False))
    np.testing.assert_array_equal(casting, plain)


@pytest.mark.sim
def test_check_rendering_passes_where_pictures_come_out():
    assert check_rendering() in ("egl", "osmesa", "glfw", "native")


def test_check_rendering_is_one_line_for_a_wrong_variable(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "nonsense")
    with pytest.raises(EnvError, match="expected MUJOCO_GL to be egl, osmesa or glfw"):
        check_rendering()
