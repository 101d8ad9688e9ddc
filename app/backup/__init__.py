"""Backups: one signed file that brings an instance back, and is known to do so when it is made (decision 0015)."""
