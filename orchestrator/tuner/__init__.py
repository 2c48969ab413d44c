"""Tuning jobs: which training jobs come next, which are ended early, and when it is enough."""
