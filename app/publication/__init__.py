"""Publications: the immutable, numbered, signed sets of rules that clients are served."""
