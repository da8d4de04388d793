"""The law as a file, and its answers."""
