"""Redos."""
