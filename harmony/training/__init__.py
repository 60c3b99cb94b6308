"""The training loop and what it stands on: schedule, optimizer, precision, checkpoint, seeds."""
