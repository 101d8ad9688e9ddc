"""The organisation's own decisions on top of upstream's rules (decision 0012)."""
