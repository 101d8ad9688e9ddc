"""Signed files that carry a set of rules over an air gap (decision 0013)."""
