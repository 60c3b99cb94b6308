from rlbench.tasks.push_button import PushButton
from rlbench.tasks.reach_target import ReachTarget

__all__ = ["PushButton", "ReachTarget"]
