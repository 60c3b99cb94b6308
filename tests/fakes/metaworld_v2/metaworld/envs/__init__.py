"""Tasks with the surface and the traits of version 2, but for a simulator.

Strict where a wrong call would go unnoticed, and with the original's peculiarities: goals come from
NumPy's global generator, steps beyond the limit raise, and a reset moves the object after it has
placed the hand, so that the first picture shows it where it was.
"""

import types

import numpy as np

CAMERAS = ("topview", "corner", "corner2", "corner3", "behindGripper", "gripperPOV")


class _Simulator:
    """What of mujoco-py's MjSim is used."""

    def __init__(self, env):
        self._env = env

    def render(self, width, height, *, mode, camera_name):
        if mode != "offscreen" or camera_name not in CAMERAS:
            raise ValueError(f"no such picture: {mode}, {camera_name}")
        env, model = self._env, self._env.model
        image = np.zeros((height, width, 3), np.uint8)
        image[: height // 2, :, 0] = 200  # the first row is the picture's top
        image[..., 1] = np.clip(255 * env.seen_object, 0, 255).astype(np.uint8)[0]
        image[0, : len(env.hand), 2] = np.clip(128 + 100 * env.hand, 0, 255).astype(np.uint8)
        camera = model.cam_pos[CAMERAS.index(camera_name)]
        image[-1, : len(camera), 2] = (100 * camera).astype(np.uint8)
        quality = model.vis.quality
        image[-1, 3:7, 2] = (
            quality.shadowsize // 32,
            quality.offsamples,
            model.light_castshadow.sum(),
            100 * model.mat_reflectance.max(),
        )
        return image[::-1][::-1]  # not contiguous as a whole


def _model():
    return types.SimpleNamespace(
        cam_pos=np.ones((len(CAMERAS), 3)),
        camera_name2id=CAMERAS.index,
        light_castshadow=np.ones(3, np.int8),
        mat_reflectance=np.full(4, 0.5),
        vis=types.SimpleNamespace(quality=types.SimpleNamespace(shadowsize=4096, offsamples=4)),
    )


class LeverPull:
    """Reach the object; solved where the hand is near it."""

    max_path_length = 500

    def __init__(self, seed=None):
        del seed
        self.model, self.sim = _model(), _Simulator(self)
        self.object = self.seen_object = np.zeros(3)
        self._freeze_rand_vec = False
        self.reset()
        self._freeze_rand_vec = True

    def reset(self):
        self.curr_path_length = 0
        self.hand = np.zeros(3)
        self.seen_object = self.object  # placing the hand runs the simulator
        if not self._freeze_rand_vec:
            self.object = np.random.uniform(0.2, 0.8, 3)  # noqa: NPY002 - as the original
        return np.zeros(39)

    def step(self, action):
        assert action.shape == (4,)
        if self.curr_path_length > self.max_path_length:
            raise ValueError("Maximum path length allowed by the benchmark has been exceeded")
        self.curr_path_length += 1
        self.hand = np.clip(self.hand + 0.1 * np.clip(action[:3], -1, 1), -1, 1)
        self.seen_object = self.object
        distance = float(np.abs(self.hand - self.object).max())
        return np.zeros(39), 10 * (1 - distance), False, {"success": float(distance < 0.15)}

    def _get_curr_obs_combined_no_goal(self):
        return np.concatenate([self.hand, [1.0], self.object, np.zeros(11)])

    def _get_pos_goal(self):
        return self.object


ALL_V2_ENVIRONMENTS_GOAL_OBSERVABLE = {"lever-pull-v2-goal-observable": LeverPull}
