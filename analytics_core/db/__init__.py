"""Storage: one typed function for each query, and the only way to a connection."""
