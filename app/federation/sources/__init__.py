"""Where rules come from: one module a kind, all behind `collect`, which runs in a child process."""
