"""Sampling: the choice of the next run."""
