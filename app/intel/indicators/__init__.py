"""Indicators: IP addresses and domains that feeds list, because reports or an admin say so."""
