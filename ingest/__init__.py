"""From the spool to the ledger: batches of hits judged by column and landed exactly once."""
