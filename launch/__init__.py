"""Sweeps on SLURM or on one machine: submit, watch, retry, resume."""
