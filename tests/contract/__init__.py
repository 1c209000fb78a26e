"""The API held to its own document."""
