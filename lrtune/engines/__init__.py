"""Where workers run. An engine is a module with a function ``make`` that returns an `lrtune.search.Engine`."""
