"""Studies that no user's program needs; each has a pipeline and parameters of its own."""
