"""The question: what to train, where to look, and what one run is."""
