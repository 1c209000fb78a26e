"""Tell by name in what a database differs from the schema of this version.

The branch's schema file is proven equal to its migrations, and written in a plain form: what should be there is read
from it, what is there from PostgreSQL's catalogue. Partitions and chunks come and go and are left out.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Iterator
from importlib import resources
from typing import Final, LiteralString, NamedTuple

import asyncpg

from analytics_core.settings import Storage

__all__ = ("Difference", "differences", "expected_objects")

_NO_COLUMN: Final = ("primary", "unique", "foreign", "check", "constraint", "exclude", "like")
_TYPE_ENDS: Final = r"\s+(?:not|null|primary|unique|check|default|generated|references|collate|constraint)\b"
_TABLE: Final = re.compile(r"create table ([\w.]+) \(\n(.*?)\n\)", re.DOTALL)
_COLUMN_ADDED: Final = re.compile(r"alter table ([\w.]+)\s+add column (?:if not exists )?(\w+) ([^;,]+)")
_NAMED: Final = (
    ("function", re.compile(r"create (?:or replace )?function ([\w.]+)\(")),
    ("view", re.compile(r"create (?:or replace )?view ([\w.]+)")),
)
# Under its former name there is another one since.
_RENAMED: Final = re.compile(r"alter function (\w+)\.\w+\([^)]*\) rename to (\w+)")
_ADDED: Final = re.compile(r"alter table ([\w.]+)\s+add ([^;]+)")
_DROPPED: Final = re.compile(r"alter table ([\w.]+)\s+drop constraint \w+_(pkey|key|fkey|check)\b")
_KINDS: Final = {"pkey": "primary key", "key": "unique", "fkey": "references", "check": "check"}
_CONSTRAINT: Final = re.compile(r"\b(primary key|unique|references|check)\b(?! index)")
_INDEX: Final = re.compile(r"create (?:unique )?index (\w+) on (\w+)\.\w+")
_POLICY: Final = re.compile(r"create policy (\w+) on ([\w.]+)")
_SECURITY: Final = re.compile(r"alter table ([\w.]+) force row level security")
_GRANT: Final = re.compile(r"grant ([^;]+?)\s+on ((?:\w+\.\w+(?:,\s*)?)+)\s+to ([\w,\s]+);")
_PRIVILEGE: Final = re.compile(r"(select|insert|update|delete)\s*(?:\(([^)]*)\))?")

_THERE: Final[LiteralString] = """/* catalogue.objects */
with ours as (
    select c.oid, n.nspname || '.' || c.relname as name, c.relkind, c.relispartition,
        c.relforcerowsecurity and c.relrowsecurity as forced
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname in ('app', 'ts', 'ops', 'api')
)
select 'table' as kind, name, '' as detail from ours where relkind in ('r', 'p') and not relispartition
union all
select 'view', name, '' from ours where relkind in ('v', 'm')
union all
select 'column', o.name || '.' || a.attname, format_type(a.atttypid, a.atttypmod)
from ours o join pg_attribute a on a.attrelid = o.oid
where o.relkind in ('r', 'p') and not o.relispartition and a.attnum > 0 and not a.attisdropped
union all
select 'constraint', case contype when 'p' then 'primary key' when 'u' then 'unique' when 'f' then 'references'
    else 'check' end || ' on ' || o.name, count(*)::text
from pg_constraint k join ours o on o.oid = k.conrelid
where not o.relispartition and contype in ('p', 'u', 'f', 'c') group by contype, o.name
union all
select 'index', o.name, '' from ours o join pg_index i on i.indexrelid = o.oid
where not o.relispartition and i.indisvalid and not exists (select from pg_constraint where conindid = o.oid)
    and not (select p.relispartition from pg_class p where p.oid = i.indrelid)
union all
select 'policy', p.polname || ' on ' || o.name, '' from pg_policy p join ours o on o.oid = p.polrelid
union all
select 'row security', name, '' from ours where forced
union all
select 'function', n.nspname || '.' || p.proname, '' from pg_proc p join pg_namespace n on n.oid = p.pronamespace
where n.nspname in ('app', 'ts', 'ops', 'api')
    -- Without those that come with a type of ranges.
    and not exists (select from pg_depend where classid = 'pg_proc'::regclass and objid = p.oid and deptype = 'i')"""

_TYPE_NAMES: Final[LiteralString] = """/* catalogue.types */
select t as given, format_type(to_regtype(t), null) as name from unnest($1::text[]) as t"""

_PRIVILEGES: Final[LiteralString] = """/* catalogue.privileges */
select r || ' may ' || p || ' ' || t || coalesce('.' || c, '') as name
from unnest($1::text[], $2::text[], $3::text[], $4::text[]) as wanted (r, p, t, c)
where to_regclass(t) is not null
    and (c is null or exists (select from pg_attribute where attrelid = to_regclass(t) and attname = c))
    and not case when c is null then has_table_privilege(r, t, p) else has_column_privilege(r, t, c, p) end"""


class Difference(NamedTuple):
    """One thing that is not as it should be.

    Attributes:
        kind: ``table``, ``column``, ``constraint`` (counted by kind), ``index``, ``view``, ``function``, ``policy``,
            ``row security`` or ``privilege``.
        name: Its name with its schema.
        what: ``missing``, ``extra``, or how it differs.
    """

    kind: str
    name: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {self.what}"


class Expected(NamedTuple):
    """What a schema file makes: objects by kind and name (columns with their type), and privileges."""

    objects: dict[tuple[str, str], str]
    privileges: frozenset[tuple[str, str, str, str | None]]


def _columns(body: str) -> Iterator[tuple[str, str]]:
    """Read a table's columns; a definition may go over several lines, and a comma may stand inside brackets."""
    depth, part = 0, ""
    for char in f"{body},":
        depth += (char in "([") - (char in ")]")
        if char != "," or depth:
            part += char
            continue
        name, _, rest = part.strip().partition(" ")
        part = ""
        if name and name not in _NO_COLUMN:
            yield name, re.split(_TYPE_ENDS, f"{rest.strip()} ", maxsplit=1)[0].strip()


def _constraints(text: str) -> dict[tuple[str, str], str]:
    """Count the tables' constraints by kind, as they are in the end; their names are PostgreSQL's own."""
    counts = collections.Counter(
        f"{constraint[1]} on {made[1]}"
        for pattern in (_TABLE, _ADDED)
        for made in pattern.finditer(text)
        for constraint in _CONSTRAINT.finditer(made[2])
    )
    counts.subtract(f"{_KINDS[gone[2]]} on {gone[1]}" for gone in _DROPPED.finditer(text))
    return {("constraint", name): str(count) for name, count in counts.items() if count}


def expected_objects(sql: str) -> Expected:
    """Read what a schema file makes.

    >>> found = expected_objects("create table app.t (\\n    a text[] not null,\\n    primary key (a)\\n);")
    >>> found.objects
    {('table', 'app.t'): '', ('column', 'app.t.a'): 'text[]', ('constraint', 'primary key on app.t'): '1'}
    """
    text = re.sub(r"--[^\n]*", "", re.sub(r"\$\$.*?\$\$", "''", sql, flags=re.DOTALL))
    objects: dict[tuple[str, str], str] = {}
    for table in _TABLE.finditer(text):
        objects["table", table[1]] = ""
        for name, kind in _columns(table[2]):
            objects["column", f"{table[1]}.{name}"] = kind
    objects |= _constraints(text)
    for added in _COLUMN_ADDED.finditer(text):
        objects["column", f"{added[1]}.{added[2]}"] = re.split(_TYPE_ENDS, f"{added[3]} ", maxsplit=1)[0].strip()
    for what, pattern in _NAMED:
        objects |= {(what, match[1]): "" for match in pattern.finditer(text)}
    objects |= {("function", f"{match[1]}.{match[2]}"): "" for match in _RENAMED.finditer(text)}
    objects |= {("index", f"{match[2]}.{match[1]}"): "" for match in _INDEX.finditer(text)}
    objects |= {("policy", f"{match[1]} on {match[2]}"): "" for match in _POLICY.finditer(text)}
    objects |= {("row security", match[1]): "" for match in _SECURITY.finditer(text)}
    privileges = {
        (role.strip(), privilege[1], table.strip(), column.strip() if column else None)
        for grant in _GRANT.finditer(text)
        for privilege in _PRIVILEGE.finditer(grant[1])
        for table in grant[2].split(",")
        for role in grant[3].split(",")
        for column in (privilege[2].split(",") if privilege[2] else [None])
    }
    return Expected(objects, frozenset(privileges))


async def differences(conn: asyncpg.Connection[asyncpg.Record], storage: Storage) -> list[Difference]:
    """Compare a database with the schema of this version; changes nothing.

    Args:
        conn: By any login that may look at the catalogue.
        storage: The database's branch.

    Returns:
        What is missing, extra or different, by name; empty when all is as it should be.
    """
    expected = expected_objects(resources.files("migrations").joinpath(f"schema_{storage.value}.sql").read_text())
    there = {(row["kind"], row["name"]): row["detail"] for row in await conn.fetch(_THERE)}
    types = sorted({detail for (kind, _), detail in expected.objects.items() if kind == "column"})
    names = {row["given"]: row["name"] for row in await conn.fetch(_TYPE_NAMES, types)}
    found = [Difference(*key, "missing") for key in expected.objects if key not in there]
    found += [Difference(*key, "extra") for key in there if key not in expected.objects]
    for key, detail in expected.objects.items():
        wanted = names.get(detail, detail) if key[0] == "column" else detail
        if key in there and there[key] != wanted:
            found.append(Difference(*key, f"is {there[key]}, not {wanted}"))
    privileges = sorted(expected.privileges, key=lambda one: (one[2], one[0], one[1], one[3] or ""))
    rows = await conn.fetch(_PRIVILEGES, *([one[place] for one in privileges] for place in range(4)))
    found += [Difference("privilege", row["name"], "missing") for row in rows]
    return sorted(set(found))
