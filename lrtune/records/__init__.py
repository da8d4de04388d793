"""Records of runs: records.jsonl, the run folder, and imports from other tools."""
