"""Archives: a tenant's part of the ledger as a folder of files that anybody can read."""
