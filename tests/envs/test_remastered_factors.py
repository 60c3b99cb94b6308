import math
import random

import numpy as np
import pytest

from harmony.envs.remastered_factors import (
    DOMAINS,
    FACTORS,
    draw_look,
    draw_view,
    tilt_angle,
)

SKIES, FLOORS = 119, 383  # the original's photographs

# What the original's code writes into its models for visual seed 77; rounded.
LOOK_77 = {
    "reflectance": 0.162953,
    "body": (0.822556, 0.115063, 0.476237, 0.810123),
    "effector": (0.611333, 0.145471, 0.630651, 0.889474),
    "target": (0.851119, 0.028351, 0.957176, 0.875155),
    "ambient": (0.252211, 0.221607, 0.254445),
    "diffuse": (0.455733, 0.408873, 0.547181),
    "specular": (0.171691, 0.171160, 0.166730),
}
# Likewise: place of camera 0, and of light 0 where it moves.
VIEW_77 = {
    "ball_in_cup": ((0.0299115, -0.9651812, 0.8480987), (0.3225559, -0.3849375, 1.9143552)),
    "cartpole": ((0.0897346, -4.3481877, 0.8961974), (0.6451117, -0.7698749, 5.9287103)),
    "cheetah": ((0.1495577, -3.0696375, -0.1297532), (1.2902235, -1.5397499, 2.9049471)),
    "finger": ((0.0119646, -1.0034819, 0.7721481), (0.5160894, -0.6158999, 1.9524736)),
    "fish": ((0.0299115, -0.0174094, 0.8961974), (0.1935335, -0.2309625, 0.4762368)),
    "hopper": ((0.0897346, -2.8696375, 0.6961974), None),
    "humanoid": ((-2.7008846, -0.1740939, 0.7404935), (0.4515782, -0.5389124, 1.4857421)),
    "pendulum": ((0.0651812, -1.0687358, 1.5467668), (-0.3849375, -0.0095053, 2.0926316)),
    "reacher": ((0.0299115, -0.0174094, 0.7240494), (0.1290223, -0.1539750, 0.4357421)),
    "walker": ((0.1794692, -2.0174094, 0.6480987), None),
}


def test_the_factors_are_the_originals():
    assert FACTORS == ("bg", "floor", "body", "target", "reflectance", "camera", "light")


def test_a_visual_seed_means_what_it_means_in_the_original():
    look = draw_look(77, SKIES, FLOORS)
    for name, expected in LOOK_77.items():
        assert getattr(look, name) == pytest.approx(expected, abs=1e-6), name
    assert look.shadow_size == 1752


@pytest.mark.parametrize(
    ("seed", "sky", "floor"), [(1, 17, 291), (77, 102, 129), (999_983, 54, 60)]
)
def test_its_pictures_are_the_originals_in_order_of_their_names(seed, sky, floor):
    look = draw_look(seed, SKIES, FLOORS)
    assert (look.sky, look.floor) == (sky, floor)


@pytest.mark.parametrize("domain", list(DOMAINS))
def test_camera_and_light_are_the_originals(domain):
    view = draw_view(77, domain)
    camera, light = VIEW_77[domain]
    assert view.camera_position == pytest.approx(camera, abs=1e-6)
    assert view.light_position == (pytest.approx(light, abs=1e-6) if light else None)
    assert (view.camera_angles is not None) is (domain in ("hopper", "pendulum"))
    assert (view.light_diffuse is not None) is (domain == "finger")


def test_the_light_of_the_finger_has_colours_of_its_own():
    view = draw_view(77, "finger")
    assert view.light_diffuse == pytest.approx((0.8391902, 0.8205557, 0.8399628), abs=1e-6)
    assert view.light_specular == pytest.approx((0.6147885, 0.5818778, 0.6190308), abs=1e-6)


def test_the_order_of_the_draws_by_hand():
    rng = random.Random(5)
    sky, floor = rng.choice(range(7)), rng.choice(range(3))
    reflectance, alpha = 0.5 * rng.random(), 0.75 + 0.25 * rng.random()
    look = draw_look(5, 7, 3)
    assert (look.sky, look.floor) == (sky, floor)
    assert look.reflectance == pytest.approx(reflectance)
    assert look.body == pytest.approx((rng.random(), rng.random(), rng.random(), alpha))


def test_the_tilt_of_the_pendulums_camera_comes_first():
    rng = random.Random(5)
    tilt = rng.uniform(0.4, 0.6)
    view = draw_view(5, "pendulum")
    assert view.camera_angles == (tilt_angle(tilt), 0.0, 0.0)
    assert view.camera_position[0] == 0.2 * rng.random()
    # The upward axis that the angle gives.
    radians = math.radians(tilt_angle(tilt))
    assert math.cos(radians) / math.sin(radians) == pytest.approx(tilt)


def test_sky_and_camera_are_drawn_from_the_same_bits():
    """The original begins with the same seed twice, so one tells of the other."""
    seeds = range(1, 400)
    skies = [draw_look(seed, SKIES, FLOORS).sky for seed in seeds]
    places = [draw_view(seed, "cheetah").camera_position[0] for seed in seeds]
    assert np.corrcoef(skies, places)[0, 1] > 0.8


def test_numbers_stay_in_their_ranges_and_fill_them():
    looks = [draw_look(seed, SKIES, FLOORS) for seed in range(1, 2000)]
    for values, low, high in (
        ([look.sky for look in looks], 0, SKIES - 1),
        ([look.floor for look in looks], 0, FLOORS - 1),
        ([look.reflectance for look in looks], 0, 0.5),
        ([look.target[3] for look in looks], 0.75, 1),
        ([look.effector[0] for look in looks], 0, 1),
        ([look.shadow_size for look in looks], 1548, 2548),
    ):
        span = high - low
        assert low <= min(values) < low + 0.05 * span
        assert high - 0.05 * span < max(values) <= high
    ambient = np.array([look.ambient for look in looks])
    assert ambient.min() >= 0.05
    assert ambient.max() <= 0.85
    assert (np.ptp(ambient, axis=1) <= 0.1).all()


def test_nothing_is_left_behind_in_pythons_own_generator():
    random.seed(3)
    expected = random.random()
    random.seed(3)
    draw_look(5, SKIES, FLOORS)
    draw_view(5, "hopper")
    assert random.random() == expected
