"""Execution choices: how many models to train at once, and whether to compile."""
