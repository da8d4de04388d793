"""Comparisons: between arms, of a rule with a baseline, of a rule with measurements."""
