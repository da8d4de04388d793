"""A study: what to train, which rates and sizes to search, and what one run is."""
