"""DeepMind Control Suite: all its tasks, from pixels, from the state of the body, or both.

Source: dm_control.suite, https://github.com/google-deepmind/dm_control.
"""

from typing import TYPE_CHECKING, Any, Literal

import gymnasium
import numpy as np

from harmony.envs.arguments import check_name, check_positive
from harmony.envs.opengl import choose_backend
from harmony.envs.render import RenderQuality
from harmony.errors import EnvError

if TYPE_CHECKING:
    from dm_control.rl import control

    from harmony.envs.offscreen import Offscreen

REQUIRES = {"dm_control": "dmc"}
"""Packages, with the extras that bring them."""
_SUITE = {
    "acrobot": ("swingup", "swingup_sparse"),
    "ball_in_cup": ("catch",),
    "cartpole": (
        "balance",
        "balance_sparse",
        "swingup",
        "swingup_sparse",
        "three_poles",
        "two_poles",
    ),
    "cheetah": ("run",),
    "dog": ("fetch", "run", "stand", "trot", "walk"),
    "finger": ("spin", "turn_easy", "turn_hard"),
    "fish": ("swim", "upright"),
    "hopper": ("hop", "stand"),
    "humanoid": ("run", "run_pure_state", "stand", "walk"),
    "humanoid_CMU": ("run", "stand", "walk"),
    "lqr": ("lqr_2_1", "lqr_6_2"),
    "manipulator": ("bring_ball", "bring_peg", "insert_ball", "insert_peg"),
    "pendulum": ("swingup",),
    "point_mass": ("easy", "hard"),
    "quadruped": ("escape", "fetch", "run", "walk"),
    "reacher": ("easy", "hard"),
    "stacker": ("stack_2", "stack_4"),
    "swimmer": ("swimmer15", "swimmer6"),
    "walker": ("run", "stand", "walk"),
}
TASKS = {f"{domain}_{name}": (domain, name) for domain, names in _SUITE.items() for name in names}
"""Task name -> domain and task of dm_control."""
ALIASES = {"cup_catch": "ball_in_cup_catch"}
"""Short names that the literature uses."""

_UNBOUNDED = 1e10  # what dm_control gives as the bound of a control that has none
_FREE, _BALL, _HINGE = 0, 1, 3  # MuJoCo's kinds of joints; 2 slides
_DEFAULT_CAMERA = {"quadruped": 2}  # its camera 0 stays behind; the others use camera 0


class DMC(gymnasium.Env[Any, np.ndarray]):
    """One task of the DeepMind Control Suite.

    Observations: `image` uint8 (image_size, image_size, 3), or `proprio` float32 (D,), dm_control's
    observations in their order, flattened, or both. Actions: float32 (A,) in [-1, 1], stretched to
    the bounds of the task. The reward is summed over the repeat. An episode is terminal when
    dm_control's discount is 0; its time limit truncates.

    Args:
        task: domain and task joined by an underscore, e.g. walker_walk; cup_catch is an alias.
        action_repeat: env steps in one agent step.
        image_size: height and width of the picture, pixels.
        camera: index of the task's camera; None: 0, and 2 for quadruped.
        render: quality of the picture.
        observation: the picture, the vector of the body's state, or both; nothing is drawn for the
            vector alone.

    Raises:
        EnvError: unknown task or camera, dm_control is missing, or the machine can't draw.
    """

    def __init__(
        self,
        *,
        task: str,
        action_repeat: int = 2,
        image_size: int = 64,
        camera: int | None = None,
        render: RenderQuality,
        observation: Literal["image", "vector", "both"] = "image",
    ) -> None:
        check_task(task)
        check_positive(action_repeat=action_repeat, image_size=image_size)
        domain, name = TASKS[ALIASES.get(task, task)]
        self.action_repeat = action_repeat
        self._env = _load(domain, name)
        self._prepare(self._env.physics)
        camera = _DEFAULT_CAMERA.get(domain, 0) if camera is None else camera
        _check_camera(task, camera, self._env.physics.model.ncam)
        self._camera = None
        if observation != "vector":
            self._camera = _make_camera(self._env.physics, camera, image_size, render)
        self._proprio = observation != "image"
        spec = self._env.action_spec()
        self._center, self._scale = _action_map(spec.minimum, spec.maximum)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, spec.shape, np.float32)
        spaces: dict[str, gymnasium.Space[Any]] = {}
        if self._camera is not None:
            side = (image_size, image_size, 3)
            spaces["image"] = gymnasium.spaces.Box(0, 255, side, np.uint8)
        if self._proprio:
            values = self._env.observation_spec().values()
            size = sum(int(np.prod(value.shape)) for value in values)
            spaces["proprio"] = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self.observation_space = gymnasium.spaces.Dict(spaces)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begins an episode that the seed decides completely.

        Args:
            seed: in [0, 2**32); None goes on with the generator as it is.
            options: not used.
        """
        super().reset(seed=seed, options=options)
        return self._begin(seed), {}

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Applies the action `action_repeat` times, or until the episode ends.

        Args:
            action: (A,) in [-1, 1].
        """
        control = self._center + self._scale * np.asarray(action, np.float64)
        reward = 0.0
        for _ in range(self.action_repeat):
            step = self._env.step(control)
            reward += float(step.reward or 0.0)
            if step.last():
                break
        terminated = bool(step.last() and step.discount == 0)
        truncated = bool(step.last() and not terminated)
        return self._observe(step.observation), reward, terminated, truncated, {}

    def state(self) -> dict[str, np.ndarray]:
        """What the simulator knows, float64 (n,) by quantity; reading it changes nothing.

        `qpos/JOINT` and `qvel/JOINT` are in metres and radians, and seconds. A hinge without limits
        is the cosine and sine of its angle, since a picture does not count turns. A free joint is
        split into `position` and `quaternion`, `linear` and `angular`. `observation/NAME` is the
        task's own observation, flattened.
        """
        physics = self._env.physics
        observation = self._env.task.get_observation(physics)
        flat = {f"observation/{key}": np.ravel(value) for key, value in observation.items()}
        state = _joint_state(physics.model, physics.data) | flat
        return {name: np.array(value, np.float64) for name, value in state.items()}

    def close(self) -> None:
        """Frees the rendering context."""
        if self._camera is not None:
            self._camera.close()
        self._env.close()

    def _prepare(self, physics: Any) -> None:  # noqa: ANN401 - dm_control's
        """Changes the model before anything is drawn; suites that build on this one fill it in."""

    def _begin(self, seed: int | None) -> dict[str, np.ndarray]:
        """Begins an episode of dm_control; what it draws comes from the seed."""
        if seed is not None:
            self._env.task.random.seed(seed)
        state = self._env.reset().observation
        if self._camera is not None:
            self._camera.upload_terrain()  # quadruped_escape makes a new one
        return self._observe(state)

    def _observe(self, state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        observation: dict[str, np.ndarray] = {}
        if self._camera is not None:
            observation["image"] = np.ascontiguousarray(self._camera.draw()[::-1])
        if self._proprio:
            parts = [np.ravel(value) for value in state.values()]
            observation["proprio"] = np.concatenate(parts).astype(np.float32)
        return observation


def check_task(task: str) -> None:
    """Says whether the suite has the task, without importing it.

    Args:
        task: as in `DMC`.

    Raises:
        EnvError: it has not; names the nearest ones.
    """
    check_name(task, TASKS, "dm_control", aliases=ALIASES, env="dmc")


def _joint_state(model: Any, data: Any) -> dict[str, np.ndarray]:  # noqa: ANN401 - MuJoCo's
    """Position and velocity of each joint, by name where it has one."""
    positions: dict[str, np.ndarray] = {}
    velocities: dict[str, np.ndarray] = {}
    for joint in range(model.njnt):
        name = model.id2name(joint, "joint") or f"joint_{joint}"
        qpos, qvel = data.qpos[model.jnt_qposadr[joint] :], data.qvel[model.jnt_dofadr[joint] :]
        kind = int(model.jnt_type[joint])
        if kind == _FREE:
            positions[f"qpos/{name}/position"] = qpos[:3]
            positions[f"qpos/{name}/quaternion"] = qpos[3:7]
            velocities[f"qvel/{name}/linear"] = qvel[:3]
            velocities[f"qvel/{name}/angular"] = qvel[3:6]
        elif kind == _BALL:
            positions[f"qpos/{name}"], velocities[f"qvel/{name}"] = qpos[:4], qvel[:3]
        else:
            turns = kind == _HINGE and not model.jnt_limited[joint]
            positions[f"qpos/{name}"] = (
                np.array([np.cos(qpos[0]), np.sin(qpos[0])]) if turns else qpos[:1]
            )
            velocities[f"qvel/{name}"] = qvel[:1]
    return positions | velocities


def _load(domain: str, name: str) -> "control.Environment":
    choose_backend()
    try:
        from dm_control import suite
    except ModuleNotFoundError as error:
        raise EnvError(
            f"env dmc: package {error.name!r} is missing; pip install 'harmony-dream[dmc]'"
        ) from error
    # lqr draws the stiffness and damping of its model when it is made: a fixed seed, one model.
    return suite.load(domain, name, task_kwargs={"random": 0})


def _make_camera(physics: Any, camera: int, size: int, render: RenderQuality) -> "Offscreen":  # noqa: ANN401
    from harmony.envs.offscreen import Offscreen

    render.apply(physics.model)
    return Offscreen(physics.model.ptr, physics.data.ptr, camera=camera, size=size)


def _check_camera(task: str, camera: int, num_cameras: int) -> None:
    if not 0 <= camera < num_cameras:
        raise EnvError(
            f"env.camera: expected 0 to {num_cameras - 1} for {task}, got {camera}; "
            "null picks the task's usual one"
        )


def _action_map(minimum: np.ndarray, maximum: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre and half width of the controls, float64 (A,); 0 and 1 where they have no bounds."""
    bounded = (minimum > -_UNBOUNDED) & (maximum < _UNBOUNDED)
    low, high = np.where(bounded, minimum, -1.0), np.where(bounded, maximum, 1.0)
    return (low + high) / 2.0, (high - low) / 2.0
