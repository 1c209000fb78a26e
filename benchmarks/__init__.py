"""Side-by-side measurements: each is one command that starts what it needs and prints a ratio."""
