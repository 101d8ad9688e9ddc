"""Measures the product as shipped: `make bench` (needs `wrk` on the PATH, and npm for the published rules)."""
