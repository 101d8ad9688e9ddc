"""Telemetry: what tools report of their own use, which is counted and hardly kept; and the counters."""
