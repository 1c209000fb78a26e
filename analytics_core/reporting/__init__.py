"""Reports that are made once and kept: what they are about, what stands in them, and how they are written to files."""
