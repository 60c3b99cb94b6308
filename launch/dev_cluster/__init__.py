"""A real SLURM on one machine, for tests and for trying things: nothing outside one directory."""

from launch.dev_cluster.cluster import DevCluster
from launch.dev_cluster.settings import Settings

__all__ = ["DevCluster", "Settings"]
