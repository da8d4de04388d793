"""Text to token folder to seeded batches. Loads numpy alone."""
