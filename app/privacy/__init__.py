"""Protection of what clients report: anonymisation before it is stored, retention, export and erasure."""
