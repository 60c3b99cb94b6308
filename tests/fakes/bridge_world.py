"""A simulator that does what the tests of the bridge ask for."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np


class World:
    """Counts its calls."""

    def __init__(self, start):
        self.count = start

    def echo(self, *values):
        return list(values)

    def add(self, amount=1):
        self.count += amount
        return self.count

    def tell(self, text):
        sys.stdout.write(text + "\n")
        os.system(f"echo '{text} from a program'")

    def fail(self):
        raise ValueError("two\nlines")

    def give(self, what):
        return {"set": set(), "object": np.array([None]), "complex": 1j, "keys": {(1, 2): 3}}[what]

    def exit(self, code):
        os._exit(code)

    def leave(self):
        sys.exit("no licence")

    def kill(self, number):
        os.kill(os.getpid(), number)

    def hang(self):
        time.sleep(1000)

    def pids(self):
        """Of itself, its keeper, and of programs that run on, one of them in another session."""
        sleep = [sys.executable, "-c", "import time; time.sleep(1000)"]
        near = subprocess.Popen(sleep)
        far = subprocess.Popen(sleep, start_new_session=True)
        return [os.getpid(), os.getppid(), near.pid, far.pid]

    def write(self, raw, repeat=1):
        """Writes into the bridge's own pipe."""
        for _ in range(repeat):
            os.write(int(sys.argv[2]), raw.tobytes())

    def shut(self):
        """Closes the bridge's own pipe."""
        os.close(int(sys.argv[2]))
        time.sleep(1000)

    def surroundings(self):
        return [sys.path, dict(os.environ), str(Path("/proc/self/fd/0").readlink())]


class Stubborn(World):
    """Does not want to close."""

    def close(self):
        raise OSError("still saving")


def make(start=0, trouble=""):
    if trouble == "raises":
        raise RuntimeError("no display")
    if trouble == "hangs":
        time.sleep(1000)
    return (Stubborn if trouble == "stays" else World)(start)
