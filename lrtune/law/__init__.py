"""What the records say together: the loss over scales and rates, and its optimum."""
