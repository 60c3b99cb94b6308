"""Environments: the Gymnasium API, one file a suite."""
