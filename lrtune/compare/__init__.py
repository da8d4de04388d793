"""Runs side by side: arms, a rule against a baseline, a rule against measurements."""
