"""The real world file on the real minedojo 0.1, under Python 3.9, with Minecraft itself stubbed.

Three methods of `MineDojoSim` are replaced, those that talk to the game; all wrappers are real.
"""

import importlib.util
import re
from copy import deepcopy
from pathlib import Path

import numpy as np

REAL = Path(__file__).parents[2] / "harmony" / "envs" / "worlds" / "minedojo.py"


def make(image_size):
    """A world that can be asked what the game would have been told, and told what it shows."""
    spec = importlib.util.spec_from_file_location("minedojo_world_file", REAL)
    world_file = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(world_file)
    world_file.check_machine = lambda: None
    from minedojo.sim.sim import MineDojoSim

    game = Game()
    MineDojoSim.reset = lambda sim: game.reset(sim)
    MineDojoSim.step = lambda sim, action: game.step(sim, action)
    MineDojoSim.close = lambda _: None
    MineDojoSim.is_terminated = property(lambda _: game.shown["ended"])

    class Watched(world_file.World):
        """The world with the stubbed game beside it."""

        def told(self):
            """What was said in the chat, and done, since the last time."""
            told = {"said": list(game.said), "done": list(game.done)}
            game.said.clear()
            game.done.clear()
            return told

        def show(self, changes):
            """Changes what the game shows: cow, durability, kills, ended, answers."""
            game.shown.update(changes)

        def layers(self):
            """Names of the wrappers, the outermost first."""
            names, env = [], self._env
            while "env" in vars(env):
                names.append(type(env).__name__)
                env = env.env
            return [*names, type(env).__name__]

    world_file.World = Watched
    return world_file.make(image_size)


class Game:
    """What Minecraft would be told, and what it shows: noise, with a cow where one is wanted."""

    def __init__(self):
        self.said, self.done = [], []
        self.shown = {"cow": 5.0, "durability": 1561.0, "kills": 0, "ended": False, "answers": True}

    def reset(self, sim):
        """In place of sending a mission."""
        (generator,) = re.findall(r"<BiomeGenerator[^>]*>", sim._sim_spec.to_xml("episode"))
        self.said.append(" ".join(generator.split()))
        return self._show(sim)

    def step(self, sim, action):
        """In place of a tick."""
        if "chat" in action:
            self.said.append(action["chat"])
        else:
            self.done.append({key: _plain(value) for key, value in action.items() if _acts(value)})
        if not self.shown["answers"]:
            return sim.prev_obs, 0, True, sim.prev_info
        return self._show(sim), 0, self.shown["ended"], sim.prev_info

    def _show(self, sim):
        observation = sim.observation_space.sample()
        for part, slots in (("inventory", 36), ("equipment", 6)):
            observation[part]["name"] = np.array(["diamond sword"] + ["air"] * (slots - 1))
        observation["inventory"]["cur_durability"][0] = self.shown["durability"]
        cow = self.shown["cow"]
        observation["rays"]["entity_name"] = np.array(
            ["null"] * 13 + ["cow" if cow else "null"] * 14
        )
        observation["rays"]["entity_distance"] = np.full(27, cow or -1, np.float32)
        kills = {"cow": self.shown["kills"], "pig": 0, "sheep": 0}
        sim._prev_obs, sim._prev_info = deepcopy(observation), {"stat": {"kill_entity": kills}}
        return observation


def _acts(value):
    return not isinstance(value, str) and bool(np.any(np.asarray(value)))


def _plain(value):
    return np.asarray(value).tolist()
