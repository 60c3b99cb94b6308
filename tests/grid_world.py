"""A small world as users write them: its episodes end where the goal is reached, often soon."""

import gymnasium
import numpy as np

_MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))
_TILE = 4  # pixels


class GridWorld(gymnasium.Env):
    """A square of fields with a goal in one corner; a step that leaves the square stays.

    Like many simulators it refuses steps after the end of an episode.

    Args:
        size: fields in a row.
        time_limit: steps after which an episode is truncated.
    """

    action_repeat = 1

    def __init__(self, *, size: int = 4, time_limit: int = 20) -> None:
        self.size = size
        self.time_limit = time_limit
        side = size * _TILE
        image = gymnasium.spaces.Box(0, 255, (side, side, 3), np.uint8)
        self.observation_space = gymnasium.spaces.Dict({"image": image})
        self.action_space = gymnasium.spaces.Discrete(len(_MOVES))
        self._over = True

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed, options=options)
        self._t, self._over = 0, False
        self._at = divmod(int(self.np_random.integers(1, self.size**2)), self.size)
        return self._look(), {"success": False}

    def step(self, action):
        if self._over:
            raise RuntimeError("the episode is over")
        self._t += 1
        moved = zip(self._at, _MOVES[action], strict=True)
        self._at = tuple(min(max(place + step, 0), self.size - 1) for place, step in moved)
        solved = self._at == (0, 0)
        truncated = not solved and self._t >= self.time_limit
        self._over = solved or truncated
        return self._look(), float(solved), solved, truncated, {"success": solved}

    def state(self):
        return {"position": np.array(self._at, np.float64)}

    def _look(self):
        image = np.zeros((self.size * _TILE, self.size * _TILE, 3), np.uint8)
        image[:_TILE, :_TILE, 1] = 255
        row, column = self._at
        image[row * _TILE :, column * _TILE :, 0][:_TILE, :_TILE] = 255
        return {"image": image}
