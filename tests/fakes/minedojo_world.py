"""A stand-in for Minecraft below the real world file: a toy meadow with MineDojo's surface.

`make` puts a package `minedojo` with the signatures of release 0.1 in place of the real one and
then makes the real world file's `World`, so that the world file itself is tried. Observations have
the real names, shapes and types. What the real one would refuse, or skip with a warning, raises.

A plan of faults may lie in the JSON file that FAKE_MINEDOJO_FAULTS names: {"reset": [KIND, ...],
"step": [[NUMBER, KIND], ...]}. Each fault happens once: at the next reset that makes a world, or
at that step of an episode. Kinds: raise, exit, hang; for steps also death (the player loses the
sword), end (the mission ends), lost (no answer comes).
"""

import importlib.util
import json
import math
import os
import sys
import time
import types
from collections import namedtuple
from copy import deepcopy
from pathlib import Path

import numpy as np

REAL = Path(__file__).parents[2] / "harmony" / "envs" / "worlds" / "minedojo.py"
COUNTS = np.array([3, 3, 4, 25, 25, 8, 244, 36])
COMMANDS = ("summon", "kill", "time", "weather", "replaceitem", "clear", "spreadplayers")
SWORD_DURABILITY, COW_HEALTH, SWORD_DAMAGE = 1561.0, 10, 7
REACH, STEP, FLIGHT = 3.0, 0.25, 2.0  # blocks

InventoryItem = namedtuple("InventoryItem", ("slot", "name", "variant", "quantity"))


def make(image_size):
    """The real world file's world over this meadow."""
    package, sim, inventory = (
        types.ModuleType(name) for name in ("minedojo", "minedojo.sim", "minedojo.sim.inventory")
    )
    package.make, inventory.InventoryItem = make_task, InventoryItem
    package.sim, sim.inventory = sim, inventory
    sys.modules.update({module.__name__: module for module in (package, sim, inventory)})
    spec = importlib.util.spec_from_file_location("minedojo_world_file", REAL)
    world_file = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(world_file)
    world_file.check_machine = lambda: None
    return world_file.make(image_size)


def make_task(
    task,
    *,
    target_names,
    target_quantities,
    reward_weights,
    initial_inventory,
    initial_mobs,
    initial_mob_spawn_range_low,
    initial_mob_spawn_range_high,
    image_size,
    world_seed,
    specified_biome,
    fast_reset,
    fast_reset_random_teleport_range,
    use_voxel,
    use_lidar,
    lidar_rays,
):
    """`minedojo.make`, which takes more than these but is asked for no more."""
    assert (task, target_names, target_quantities) == ("Combat", ["cow"], 1)
    assert specified_biome == "sunflower_plains"
    assert fast_reset is use_voxel is use_lidar is True
    assert fast_reset_random_teleport_range is None  # 200 then
    assert initial_inventory == [InventoryItem(0, "diamond_sword", None, 1)]
    assert image_size[0] == image_size[1]
    meadow = Meadow(image_size[0], world_seed, lidar_rays)
    places = Box(initial_mob_spawn_range_low, initial_mob_spawn_range_high, len(initial_mobs))
    task = Combat(FastReset(meadow), reward_weights["cow"], initial_mobs, places)
    return Outermost(task)


class Box:
    """gym.spaces.Box, as far as the places of the animals need it."""

    def __init__(self, low, high, count):
        self.low, self.high = (np.repeat([side], count, axis=0) for side in (low, high))
        self.seed(0)

    def seed(self, seed):
        self._rng = np.random.default_rng(seed)

    def sample(self):
        return self._rng.uniform(self.low, self.high).astype(np.float32)


class Meadow:
    """MineDojoSim: one cow that is shy, other animals that do nothing."""

    def __init__(self, image_size, world_seed, rays):
        self._side = image_size
        self._rays = rays
        generator = types.SimpleNamespace(world_seed=world_seed)
        self._sim_spec = types.SimpleNamespace(_world_generator_handlers=[generator])
        self.prev_obs = self.prev_info = None
        self.is_terminated = False
        self.said = []
        self.kills = 0

    @property
    def unwrapped(self):
        return self

    def reset(self):
        """Generates the world and sends the player there."""
        happen(take_fault("reset"))
        self.world_seed = self._sim_spec._world_generator_handlers[0].world_seed
        assert self.world_seed != 0, "MineDojo takes 0 for any world"
        self._rng = np.random.default_rng(self.world_seed)
        self.ground = self._rng.integers(60, 200, 3)
        self.is_terminated, self.kills = False, 0
        self.player, self.yaw, self.pitch = np.zeros(2), 0.0, 0.0
        self.cow, self.health, self.durability = None, 0, SWORD_DURABILITY
        return self._show()

    def step(self, action, fault=None):
        """One tick; `action` is None for nothing but the chat."""
        if self.prev_obs is None or self.is_terminated:
            raise RuntimeError("Attempted to step an environment server with done=True")
        if fault == "lost":
            self.is_terminated = True
            return self.prev_obs, 0, True, self.prev_info
        if action is not None:
            self._act(*action[:6])
        if fault == "death":
            self.durability = 0.0
        self.is_terminated = fault == "end"
        return self._show(), 0, self.is_terminated, self.prev_info

    def execute_cmd(self, text):
        """Says something in the chat."""
        words = text.split()
        assert words[0][1:] in COMMANDS, f"Invalid cmd {text}, skipping..."
        self.said.append(text)
        rest = " ".join(words[1:])
        if text == "/kill @e[type=!player]":
            self.cow = None
        elif text in ("/kill", "/clear"):
            self.durability = 0.0
        elif words[0] == "/replaceitem":
            assert rest == "entity @p slot.weapon.mainhand minecraft:diamond_sword 1 0"
            self.durability = SWORD_DURABILITY
        elif words[0] == "/spreadplayers":
            assert rest == "~ ~ 0 200 false @p"
            self.player, self.yaw, self.pitch = self._rng.uniform(-200, 200, 2), 0.0, 0.0
        elif words[:2] == ["/summon", "cow"]:
            east, height, south = (int(word[1:]) for word in words[2:])
            assert height == 1
            self.cow, self.health = self.player + np.array([east, south]), COW_HEALTH
        return self.step(None)

    def _act(self, walk, strafe, leap, pitch, yaw, hands):
        self.pitch = float(np.clip(self.pitch + 15.0 * (pitch - 12), -90, 90))
        self.yaw += 15.0 * (yaw - 12)
        ahead = np.array([-math.sin(math.radians(self.yaw)), math.cos(math.radians(self.yaw))])
        aside = np.array([ahead[1], -ahead[0]])
        speed = STEP * (1.5 if leap == 3 else 1.0)
        self.player = self.player + speed * (ahead * (0, 1, -1)[walk] + aside * (0, 1, -1)[strafe])
        if hands == 3 and self.durability and self._is_in_reach():
            self.durability -= 1.0
            self.health -= SWORD_DAMAGE
            self.cow = self.cow + FLIGHT * ahead
            if self.health <= 0:
                self.cow, self.kills = None, self.kills + 1

    def _is_in_reach(self):
        where = self._where_is_the_cow()
        return where is not None and where[0] <= REACH and abs(where[1]) <= 15

    def _where_is_the_cow(self):
        """Blocks and degrees to the right, None without one."""
        if self.cow is None:
            return None
        east, south = self.cow - self.player
        turn = math.degrees(math.atan2(-east, south)) - self.yaw
        return math.hypot(east, south), (turn + 180) % 360 - 180

    def _show(self):
        where, count = self._where_is_the_cow(), len(self._rays)
        hits = np.zeros(count, bool)
        if where is not None:
            turns = np.degrees([ray[1] for ray in self._rays])
            hits = np.abs(turns - where[1]) <= 7.5
        names = np.array(["air"] * 36, dtype="<U32")
        durability = np.full(36, -1, np.float32)
        names[0], durability[0] = ("diamond sword" if self.durability else "air"), self.durability
        observation = {
            "rgb": self._draw(where),
            "rays": {
                "entity_name": np.where(hits, "cow", "null").astype("<U32"),
                "entity_distance": np.where(hits, where[0] if where else 0, -1).astype(np.float32),
            },
            "inventory": {"name": names, "cur_durability": durability},
        }
        self.prev_obs = deepcopy(observation)
        self.prev_info = {"stat": {"kill_entity": {"cow": self.kills}}}
        return observation

    def _draw(self, where):
        """Sky above, ground below with the player's place in its colour, the cow as a box."""
        side = self._side
        horizon = int(np.clip(side * (0.5 - self.pitch / 180), 1, side - 1))
        image = np.empty((3, side, side), np.uint8)
        image[:, :horizon] = np.array([120, 160, 250], np.uint8)[:, None, None]
        shade = (self.ground + np.array([*(10 * self.player), self.yaw])) % 256
        image[:, horizon:] = shade.astype(np.uint8)[:, None, None]
        if where is not None and abs(where[1]) < 60:
            column = int(side * (0.5 + where[1] / 120))
            half = max(1, int(side / (2 + where[0]) / 2))
            rows = slice(max(0, horizon - half), horizon + half)
            columns = slice(max(0, column - half), column + half)
            image[:, rows, columns] = np.array([90, 60, 40], np.uint8)[:, None, None]
        return image


class Layer:
    """gym.Wrapper: inner public attributes are seen, private ones are not."""

    def __init__(self, env):
        self.env = env

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(f"attempted to get missing private attribute '{name}'")
        return getattr(self.env, name)


class FastReset(Layer):
    """FastResetWrapper: the first reset makes a world, later ones are said in the chat."""

    def __init__(self, env):
        super().__init__(env)
        self._server_start, self._info_prev_reset = False, None

    def reset(self):
        if not self._server_start:
            self._server_start = True
            return self.env.reset()
        for text in (
            "/kill",
            "/spreadplayers ~ ~ 0 200 false @p",
            "/time set 13000",
            "/weather normal",
            "/replaceitem entity @p slot.weapon.mainhand minecraft:diamond_sword 1 0",
            "/kill @e[type=item]",
        ):
            observation, *_ = self.env.execute_cmd(text)
        self._info_prev_reset = self.env.prev_info
        return observation


class Combat(Layer):
    """CombatMeta: reward and success by the count of kills, animals summoned at resets."""

    def __init__(self, env, weight, mobs, places):
        super().__init__(env)
        self._weight, self._mobs, self._mob_spawn_range_space = weight, mobs, places
        self.is_successful = False

    def reset(self):
        self.env.reset()
        for mob, place in zip(self._mobs, self._mob_spawn_range_space.sample(), strict=True):
            east, height, south = (int(x) for x in place)
            observation, *_ = self.env.execute_cmd(f"/summon {mob} ~{east} ~{height} ~{south}")
        self._begun_with = self._before = self.env.prev_info["stat"]["kill_entity"]["cow"]
        self._steps, self.is_successful = 0, False
        return observation

    def step(self, action):
        self._steps += 1
        fault = take_fault("step", self._steps)
        happen(fault)
        observation, *_ = self.env.env.step(action, fault)
        kills = self.env.prev_info["stat"]["kill_entity"]["cow"]
        reward, self._before = self._weight * (kills - self._before), kills
        self.is_successful = kills - self._begun_with >= 1
        done = self.env.is_terminated or self.is_successful
        return observation, reward, done, self.env.prev_info


class Outermost(Layer):
    """ARNNWrapper: the action and observation spaces that networks see."""

    @property
    def action_space(self):
        return types.SimpleNamespace(nvec=COUNTS)

    @property
    def observation_space(self):
        def box(*shape):
            return types.SimpleNamespace(shape=shape)

        return {
            "rgb": box(3, self.env.unwrapped._side, self.env.unwrapped._side),
            "rays": {"entity_distance": box(len(self.env.unwrapped._rays))},
            "inventory": {"cur_durability": box(36)},
        }

    def reset(self):
        return self.env.reset()

    def step(self, action):
        assert np.shape(action) == COUNTS.shape
        assert np.issubdtype(np.asarray(action).dtype, np.integer)
        assert (np.asarray(action) >= 0).all()
        assert (action < COUNTS).all()
        assert action[5] in (0, 1, 3), "the others wait two ticks more"
        return self.env.step(action)

    def close(self):
        self.env.unwrapped.prev_obs = None


def take_fault(where, number=None):
    """The fault that is planned for now, which is struck from the plan."""
    path = os.environ.get("FAKE_MINEDOJO_FAULTS")
    if path is None:
        return None
    plan = json.loads(Path(path).read_text())
    planned = plan.get(where, [])
    for entry in planned:
        if number is None or entry[0] == number:
            planned.remove(entry)
            Path(path).write_text(json.dumps(plan))
            return entry if number is None else entry[1]
    return None


def happen(fault):
    """What breaks more than the game."""
    if fault == "raise":
        raise RuntimeError("Something went wrong resetting the environment!")
    if fault == "exit":
        os._exit(3)
    if fault == "hang":
        time.sleep(3600)
