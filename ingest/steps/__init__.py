"""The steps of ingest: each from a batch's columns to further ones, judging every distinct value once."""
