"""The decoder, its loss and its measurements."""
