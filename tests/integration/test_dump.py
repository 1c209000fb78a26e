"""``pg_dump`` of a ledger: what the page on backups says of it, under row security that holds for the owner too."""

from __future__ import annotations

import subprocess
from urllib.parse import urlsplit

import pytest

from analytics_core.settings import DatabaseSettings
from tests.factories import make_tenant
from tests.postgres import Server

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("native")]


def _dump_tenants(postgres: Server, url: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(postgres.binaries / "pg_dump"), "--data-only", "--table", "app.tenants", *options, url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_our_login_cannot_dump_and_a_superuser_can(postgres: Server, database: DatabaseSettings) -> None:
    tenant = await make_tenant(database)
    refused = _dump_tenants(postgres, str(database.url))
    assert refused.returncode == 1
    assert "row-level security" in refused.stderr
    name = urlsplit(str(database.url)).path.strip("/")
    dumped = _dump_tenants(postgres, postgres.url(name, user="postgres"))
    assert dumped.returncode == 0, dumped.stderr
    assert str(tenant.tenant_id) in dumped.stdout


async def test_a_dump_under_row_security_silently_leaves_rows_out(postgres: Server, database: DatabaseSettings) -> None:
    tenant = await make_tenant(database)
    options = ("--enable-row-security", "--role=castledger_owner")
    dumped = _dump_tenants(postgres, str(database.url), *options)
    assert dumped.returncode == 0, dumped.stderr
    assert str(tenant.tenant_id) not in dumped.stdout


async def test_the_role_of_backups_dumps_all_rows(postgres: Server, database: DatabaseSettings) -> None:
    tenants = [await make_tenant(database, slug) for slug in ("one", "two")]
    dumped = _dump_tenants(postgres, str(database.url), "--enable-row-security", "--role=castledger_dump")
    assert dumped.returncode == 0, dumped.stderr
    assert all(str(tenant.tenant_id) in dumped.stdout for tenant in tenants)
    refused = _dump_tenants(postgres, str(database.url), "--role=castledger_dump")
    assert "row-level security" in refused.stderr
