"""What a study may set: shape, schedule, options. Loads no torch."""
