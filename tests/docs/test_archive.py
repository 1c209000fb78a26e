"""The page on archives says what is in one."""

from __future__ import annotations

import re
from pathlib import Path

from analytics_core.archives.columns import Kind
from analytics_core.archives.manifest import FORMAT, FORMAT_VERSION
from analytics_core.archives.tables import TABLES
from analytics_core.hits import HitFlag
from analytics_core.verdicts import Evidence

PAGE = (Path(__file__).parents[2] / "docs" / "archive.md").read_text()


def test_every_table_is_there_with_its_columns_in_their_order() -> None:
    rows = re.findall(r"^\| ((?:`\w+`,? ?)+) \| [^|]+ \| ([^|]+) \|$", PAGE[PAGE.index("| table |") :], re.MULTILINE)
    found = {
        name: tuple(re.findall(r"`(\w+)`", columns))
        for names, all_columns in rows
        for name, columns in zip(re.findall(r"`(\w+)`", names), all_columns.split("; "), strict=True)
    }
    assert found == {table.name: table.names for table in TABLES}


def test_format_types_and_numbers_are_those_of_the_code() -> None:
    assert f"(`{FORMAT}`, version {FORMAT_VERSION})" in PAGE
    for kind in Kind:
        assert f"`{re.sub('<.*>', '<…>', kind.value)}`" in PAGE
    for evidence in Evidence:
        assert f"{evidence.value} {evidence.label}" in PAGE
    for flag in HitFlag:
        assert re.search(rf"\b{flag.value} \w", PAGE), flag
    assert ord("U") * 256 + ord("S") == 21843
