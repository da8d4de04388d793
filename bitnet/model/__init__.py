"""The decoder, its loss, and what is measured of it."""
