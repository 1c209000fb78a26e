"""The schema, one numbered SQL file at a time, and the runner that applies them."""
