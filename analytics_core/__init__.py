"""Rules and storage of Castledger: what a hit is, what counts, and the one typed function for each query."""
