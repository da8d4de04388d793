"""When a run ends early."""
