"""The joint model of loss over scales and rates, and its optimum."""
