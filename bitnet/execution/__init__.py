"""How many models to train at once, compiled or not."""
