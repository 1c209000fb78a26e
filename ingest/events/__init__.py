"""Events: from the spools of collectors to the ledger."""
