"""The simulator itself; in the real PyRep, a compiled module that is linked to CoppeliaSim.

A toy arm whose tip moves in proportion to the angles of its seven joints, a button that goes down
as the tip comes near, and a camera in front of it all. The z axis points up, x away from the
camera; metres and radians.
"""

import numpy as np

TIP_AT_REST = np.array([0.30, 0.0, 1.20])
REACH = np.array(
    [
        [0.10, 0.25, 0.00, -0.20, 0.05, 0.10, 0.00],
        [0.35, 0.00, 0.25, 0.00, 0.10, 0.00, 0.00],
        [0.00, -0.30, 0.00, -0.25, 0.00, 0.15, 0.00],
    ]
)
"""Metres that the tip moves for each radian."""
MAX_CHANGE = 0.05
"""Radians that a joint turns in a step."""
MAX_ANGLE = 2.8
BUTTON_AT_REST = 0.0125
PRESSED_WITHIN = 0.06

_TABLE_Z = 0.75
_SPAN = 1.2  # metres that the picture shows, across and up
_COLORS = {"sky": (0.82, 0.86, 0.9), "table": (0.55, 0.42, 0.3), "tip": (0.9, 0.9, 0.95)}


class Simulator:
    def __init__(self):
        self.ended = False
        self.positions = {}
        self.colors = {}
        self.reset()

    def reset(self):
        self.joints = np.zeros(7)
        self.gripper = 1.0

    @property
    def tip(self):
        return TIP_AT_REST + REACH @ self.joints

    @property
    def button_joint(self):
        button = self.positions.get("push_button_target")
        if button is None:
            return BUTTON_AT_REST
        return BUTTON_AT_REST - 0.5 * max(0.0, PRESSED_WITHIN - np.linalg.norm(self.tip - button))

    def move(self, target):
        change = np.clip(target - self.joints, -MAX_CHANGE, MAX_CHANGE)
        self.joints = np.clip(self.joints + change, -MAX_ANGLE, MAX_ANGLE)

    def draw(self, size):
        """The picture from the front, uint8 (size, size, 3), upright."""
        rows, columns = np.mgrid[0:size, 0:size] / size
        up = _TABLE_Z - 0.2 + (1 - rows) * _SPAN
        image = np.where((up < _TABLE_Z)[..., None], _COLORS["table"], _COLORS["sky"])
        seen = [(place, self.colors.get(name)) for name, place in self.positions.items()]
        seen.append((self.tip, (*_COLORS["tip"][:2], 0.4 + 0.5 * self.gripper)))
        for (x, y, z), color in sorted(seen, key=lambda thing: -thing[0][0]):
            radius = 0.06 / (1 + max(x, -0.5))  # farther, smaller
            distance = np.hypot((columns - 0.5) * _SPAN - y, up - z)
            cover = np.clip((radius - distance) * size / _SPAN + 0.5, 0, 1)[..., None]
            image = image * (1 - cover) + np.array(color) * cover
        return (image * 255).astype(np.uint8)
