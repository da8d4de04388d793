"""The views: the report page of a run, its charts, and the terminal views."""
