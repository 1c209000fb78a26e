"""The settings of the embedded PostgreSQL: small in memory, careful with data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

__all__ = ("LOCAL_CONFIG_FILE", "config_text", "hba_text", "shared_buffers_mb")

LOCAL_CONFIG_FILE: Final = "local.conf"
"""Name, beside our own file, of the one in which operators put settings of their own; they win."""

_SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "password_encryption": "scram-sha-256",
    # Our processes hold some 25 connections.
    "max_connections": "40",
    "work_mem": "8MB",
    "maintenance_work_mem": "48MB",
    "effective_cache_size": "256MB",
    "jit": "off",
    "huge_pages": "off",
    "max_worker_processes": "4",
    "max_parallel_workers": "2",
    "max_parallel_workers_per_gather": "1",
    "max_parallel_maintenance_workers": "1",
    "autovacuum_max_workers": "2",
    "max_logical_replication_workers": "0",
    "max_replication_slots": "0",
    # A year's question opens a partition a day with its indexes; each takes a lock.
    "max_locks_per_transaction": "256",
    "random_page_cost": "1.1",
    "min_wal_size": "80MB",
    "checkpoint_timeout": "15min",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "log_destination": "stderr",
    "logging_collector": "off",
    "log_checkpoints": "off",
    "log_line_prefix": "",
    # Statements, details and rows of COPY hold data; our services log what went wrong.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "cluster_name": "castledger",
}
_SINCE: Final[Mapping[int, Mapping[str, str]]] = {
    # The default keeps three more processes for reading ahead.
    18: {"io_method": "sync"},
}


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def shared_buffers_mb(memory_bytes: int) -> int:
    """Choose how much of the machine's memory PostgreSQL keeps pages in; the system's page cache does the rest.

    A day's downloads are found by an index that grows at random places: with 256 MiB a million of them take a sixth to
    a third less time than with 32 (docs/performance.md). But all of ``up`` has to fit into a box of 1 GiB.

    >>> [shared_buffers_mb(gib << 30) for gib in (0, 1, 2, 24)]
    [32, 64, 128, 256]
    """
    return min(max(32, memory_bytes // 2**20 // 16), 256)


def config_text(*, major: int, hba_file: Path, socket_dir: Path, local_config: Path, memory_bytes: int) -> str:
    """Write ``postgresql.conf``.

    Args:
        major: PostgreSQL's major version.
        hba_file: The file that says who may connect.
        socket_dir: The folder of the socket.
        local_config: The operator's own settings, taken in when the file is there.
        memory_bytes: What the machine, or the container, has.
    """
    settings = {**_SETTINGS, "shared_buffers": f"{shared_buffers_mb(memory_bytes)}MB"}
    for since, more in _SINCE.items():
        if major >= since:
            settings |= more
    settings["hba_file"] = str(hba_file)
    # A list of folders: quotes around each protect commas and spaces.
    settings["unix_socket_directories"] = '"' + str(socket_dir).replace('"', '""') + '"'
    lines = [f"{name} = {_quoted(value)}" for name, value in settings.items()]
    if local_config.exists():
        lines.append(f"include = {_quoted(str(local_config))}")
    head = f"# Castledger writes this file at every start; it takes in {local_config} when that is there then."
    return "\n".join([head, *lines, ""])


def hba_text() -> str:
    """Write ``pg_hba.conf``: our login by password over the socket, and nobody else, the superuser included."""
    return "# Castledger writes this file at every start.\nlocal all castledger scram-sha-256\n"
