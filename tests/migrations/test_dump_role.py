"""The role of backups sees every row of ours, now and of tables to come, and writes none."""

from __future__ import annotations

import re

import asyncpg
import pytest

from analytics_core.db.backups import SECRET_TABLES, count_rows, list_sequences, list_tables
from analytics_core.db.pool import check_role, connect
from analytics_core.errors import ConfigError
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings, Storage
from castledger_server.backup import SCHEMAS

pytestmark = pytest.mark.anyio

# Columns whose names sound like secrets, and why they are none.
_NO_SECRETS = {
    "app.podcast_claims.token": "is published in a feed",
    "app.podcast_claims.feed_digest": "of what is published",
    "app.podcast_transfers.feed_digest": "of what is published",
    "app.erasures.subject_hash": "compares with a name that is given, and with nothing else",
    "app.erasures.digest": "of the record beside it",
    "app.audit_seals.hash": "of entries that are there",
    "ops.agents.agent_hash": "of the user agent beside it",
    "ops.agents.superseded_hash": "the same",
    "app.conversions.said_hash": "of the row it is in",
    "app.conversion_adjustments.said_hash": "of the row it is in",
    "app.attribution_runs.params_hash": "of the parameters beside it",
    "migrations.applied.checksum": "of a file of ours",
}
_SOUNDS_SECRET = re.compile(r"secret|token|hash|password|digest|checksum|cipher|sealed|private|credential|signature")


async def test_it_sees_all_rows_of_every_table(database: DatabaseSettings, storage: Storage) -> None:
    conn = await connect(database, Role.DUMP, application_name="test")
    try:
        ingest = await connect(database, Role.INGEST, application_name="test")
        await ingest.execute("select ops.ensure_partitions(array['2026-10-31']::date[])")
        await ingest.close()
        tables = await list_tables(conn)
        # A migration that makes a table under row security gives it a policy as 0022 does:
        # create policy dump on … for select to castledger_dump using (true);
        assert [table.name for table in tables if not (table.is_readable and table.is_whole)] == []
        names = {table.name for table in tables}
        assert {"app.tenants", "ts.downloads", "ops.segments", "migrations.applied", *SECRET_TABLES} <= names
        # Tables elsewhere would not be looked at.
        schemas = await conn.fetch(
            "select nspname::text from pg_namespace where nspowner = 'castledger_owner'::regrole"
        )
        assert {row["nspname"] for row in schemas} == set(SCHEMAS)
        assert sum(table.is_part for table in tables) == (2 if storage is Storage.NATIVE else 0)
        for table in tables:
            await count_rows(conn, table)
        assert "app.tenants_tenant_no_seq" in {sequence.name for sequence in await list_sequences(conn)}
    finally:
        await conn.close()


async def test_it_writes_nothing_and_is_no_service(database: DatabaseSettings) -> None:
    conn = await connect(database, Role.DUMP, application_name="test")
    try:
        may = await conn.fetch(
            """select c.relname, p from pg_class c cross join unnest('{insert,update,delete,truncate}'::text[]) p
            where c.relnamespace in ('app'::regnamespace, 'ts'::regnamespace, 'ops'::regnamespace,
                'migrations'::regnamespace) and c.relkind in ('r', 'p') and has_table_privilege($1, c.oid, p)""",
            Role.DUMP.value,
        )
        assert may == []
        with pytest.raises(ConfigError, match="acts as castledger_dump"):
            await check_role(conn, Role.DUMP)
    finally:
        await conn.close()


async def test_tables_and_sequences_to_come_are_read_without_a_grant(database: DatabaseSettings) -> None:
    owner = await connect(database, Role.OWNER, application_name="test")
    await owner.execute("create table ops.later (number integer generated always as identity, at timestamptz)")
    await owner.execute("insert into ops.later (at) values (now())")
    await owner.close()
    conn = await connect(database, Role.DUMP, application_name="test")
    try:
        (later,) = [table for table in await list_tables(conn) if table.name == "ops.later"]
        assert (later.is_readable, later.is_whole, (await count_rows(conn, later))[0]) == (True, True, 1)
        assert ("ops.later_number_seq", 1) in [(one.name, one.last) for one in await list_sequences(conn)]
    finally:
        await conn.close()


async def test_every_column_that_sounds_secret_is_left_out_or_is_none(database: DatabaseSettings) -> None:
    conn = await asyncpg.connect(str(database.url))
    columns = await conn.fetch(
        """select format('%s.%s', n.nspname, c.relname) as table, a.attname::text as column
        from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid
        where n.nspname in ('app', 'ts', 'ops', 'migrations') and c.relkind in ('r', 'p') and not c.relispartition
            and a.attnum > 0 and not a.attisdropped"""
    )
    await conn.close()
    suspects = {
        f"{row['table']}.{row['column']}"
        for row in columns
        if row["table"] not in SECRET_TABLES and _SOUNDS_SECRET.search(row["column"])
    }
    assert suspects == set(_NO_SECRETS)
