"""K models in training: state, steps, checkpoints."""
