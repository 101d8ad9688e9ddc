"""Threat Cloud, private instance: consensus, federation and signed distribution of ATR rules."""

__version__ = "0.1.0"
