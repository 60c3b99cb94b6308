"""A stand-in for the sources of Meta-World version 2; see `envs`."""
