"""The trainer's settings: shape, schedule, options. Loads no torch."""
