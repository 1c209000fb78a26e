"""The front door: the `castledger` command, the supervisor of `up`, and the embedded PostgreSQL."""
