"""Text → token folder → seeded batches. Loads only numpy."""
