"""Experience on disk or in memory, and how batches are drawn from it."""
