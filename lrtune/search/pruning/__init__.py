"""Pruning: the verdicts that end a run early."""
