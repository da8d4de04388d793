"""What runs left behind: records, the run folder, other people's tables."""
