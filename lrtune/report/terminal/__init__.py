"""The views in a terminal."""
