"""Upstream's public rules in the organisation's own set."""
