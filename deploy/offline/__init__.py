"""Builds the offline archive: everything that an installation without a network needs, signed (decision 0017)."""
