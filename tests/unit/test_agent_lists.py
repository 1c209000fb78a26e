"""An operator's lists of user agents: what they decide, and that damaged ones change nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from analytics_core.agent_lists import LIST_FILES, MAX_FILE_BYTES, AgentLists, build_table, read_list_files
from analytics_core.agent_table import classify, our_table
from analytics_core.errors import InvalidInput
from analytics_core.settings import ListMode, load_settings
from analytics_core.user_agents import AgentKind
from api.lists import ListVersions
from benchmarks.score import OpenTables, find_data, read_requests

WATCH = "atc/1.0 watchOS/9.6.3"
LISTS = {
    "bots.runtime.json": [{"name": "Rake", "pattern": "^Rake/"}, {"name": "Watch", "pattern": "^atc/"}],
    "apps.runtime.json": [
        {"name": "Earwig", "pattern": "^Earwig|^%E8%80%B3%28x%29/", "urls": ["https://example.com"]},
        {"name": "Overcast Two", "pattern": "^Overcast/"},
    ],
    "libraries.runtime.json": [
        {"name": "Spade", "pattern": "^Spade/", "category": "bot"},
        {"name": "Hoe", "pattern": "^Hoe/"},
    ],
    "browsers.runtime.json": [{"name": "Net", "pattern": "Net/", "category": "bot"}],
}


def write(folder: Path, lists: dict[str, list[dict[str, object]]] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    for name, entries in {**LISTS, **(lists or {})}.items():
        (folder / name).write_text(json.dumps({"entries": entries}, indent=2), encoding="utf-8")
    return folder


def damage(folder: Path, name: str, text: str) -> None:
    """Replace a file by one with another time, however coarse the disk's clock is."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1_000_000_000))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "lists")


def fault_of(lists: AgentLists) -> str:
    return lists.fault or ""


def kinds(mode: ListMode, folder: Path, *agents: str) -> list[tuple[str, str, str]]:
    table = build_table(read_list_files(folder), mode)
    found = [table.classify(agent) for agent in agents]
    return [(one.kind.label, one.app, one.rule) for one in found]


@pytest.mark.parametrize("mode", list(ListMode))
def test_lists_are_asked_in_their_order_and_name_what_they_find(mode: ListMode, folder: Path) -> None:
    assert kinds(mode, folder, "Rake/1", "Earwig", "Overcast/3.0", "Spade/1", "Hoe/1", "Net/1") == [
        ("bot", "Rake", "bots: Rake"),
        ("app", "Earwig", "apps: Earwig"),
        ("app", "Overcast Two", "apps: Overcast Two"),
        ("bot", "Spade", "libraries: Spade"),
        ("library", "Hoe", "libraries: Hoe"),
        ("browser", "Net", "browsers: Net"),
    ]


def test_our_own_table_is_behind_lists_that_extend_it(folder: Path) -> None:
    assert kinds(ListMode.EXTEND, folder, "curl/8.1") == [("bot", "curl", "curl")]
    assert kinds(ListMode.REPLACE, folder, "curl/8.1") == [("unknown", "", "none")]


@pytest.mark.parametrize("mode", list(ListMode))
def test_a_watch_stays_a_watch_whatever_a_list_says(mode: ListMode, folder: Path) -> None:
    assert kinds(mode, folder, WATCH) == [("watch", "Apple Podcasts", "Apple Watch sync")]


def test_patterns_of_encoded_agents_find_them_decoded(folder: Path) -> None:
    assert kinds(ListMode.REPLACE, folder, "%E8%80%B3(x)/1", "耳(x)/1", "耳x/1") == [
        ("app", "Earwig", "apps: Earwig"),
        ("app", "Earwig", "apps: Earwig"),
        ("unknown", "", "none"),
    ]


def test_devices_are_told_by_our_own_patterns(folder: Path) -> None:
    table = build_table(read_list_files(folder), ListMode.REPLACE)
    assert table.classify("Earwig/1 (iPad; iOS 17.2)").device == "tablet"
    assert table.classify("Rake/1 (iPad; iOS 17.2)").device == "unknown"


def test_the_version_changes_with_whatever_can_change_an_answer(folder: Path) -> None:
    extending = build_table(read_list_files(folder), ListMode.EXTEND).version
    assert extending == build_table(read_list_files(folder), ListMode.EXTEND).version
    versions = {our_table().version, extending, build_table(read_list_files(folder), ListMode.REPLACE).version}
    write(folder, {"bots.runtime.json": [{"name": "Rake", "pattern": "^Rakes/"}]})
    versions.add(build_table(read_list_files(folder), ListMode.EXTEND).version)
    assert len(versions) == 4


BAD = [
    ("", ":1", "no JSON"),
    ('{"entries": [\n{"name": "Rake",\n', ":3", "no JSON"),
    ('{"entries": [{"name": "Rake", "pattern": "x"}]', ":1", "no JSON"),
    ("[]", ":1", "entries"),
    ('{"entries": []}', ":1", "entries"),
    ('{"entries": {}}', ":1", "entries"),
    ('{"entries": [\n{"name": "a", "pattern": "x"},\n{"name": "b"}]}', ":3", "pattern"),
    ('{"entries": [\n\n{"pattern": "x"}]}', ":3", "name"),
    ('{"entries": [\n"x"]}', ":2", "object"),
    ('{"entries": [{"name": "a", "pattern": 1}]}', ":1", "pattern"),
    ('{"entries": [{"name": "", "pattern": "x"}]}', ":1", "name"),
    ('{"entries": [{"name": "a", "pattern": "x"},\n{"name": "a", "pattern": "y"}]}', ":2", "twice"),
    ('{"entries": [{"name": "a", "pattern": "x"},\n{"name": "b", "pattern": "("}]}', ":2", "regular expression"),
    ('{"entries": [{"name": "a", "pattern": "(x+)+y"}]}', ":1", "inside of a repetition"),
    ('{"entries": [{"name": "a", "pattern": ""}]}', ":1", "everything"),
    ('{"entries": [{"name": "a", "pattern": "x", "category": 3}]}', ":1", "category"),
    ('{"entries": ' + "[" * 100_000, "", "JSON"),
    ('{"a": 1, "entries": [{"name": "a", "pattern": "x", "note": {"entries": [1]}},\n"x"]}', ":2", "object"),
]


@pytest.mark.parametrize(("text", "line", "reason"), BAD)
def test_a_damaged_list_is_refused_with_file_line_and_reason(folder: Path, text: str, line: str, reason: str) -> None:
    (folder / "apps.runtime.json").write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInput) as caught:
        build_table(read_list_files(folder), ListMode.REPLACE)
    assert caught.value.path == f"apps.runtime.json{line}"
    assert reason in caught.value.reason


def test_a_list_that_is_too_long_or_no_text_is_refused(folder: Path) -> None:
    path = folder / "bots.runtime.json"
    path.write_bytes(b'{"entries": ["\xff"]}')
    with pytest.raises(InvalidInput, match="UTF-8"):
        read_list_files(folder)
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(InvalidInput, match="bytes"):
        read_list_files(folder)


@pytest.mark.parametrize(("text", "line", "reason"), BAD)
def test_what_was_in_force_stays_when_a_list_is_damaged(folder: Path, text: str, line: str, reason: str) -> None:
    keep = folder.parent / "kept.json"
    lists = AgentLists(folder, ListMode.REPLACE, keep=keep, writes=True)
    whole = lists.table
    assert fault_of(lists) == ""
    assert not lists.refresh()
    damage(folder, "apps.runtime.json", text)
    assert not lists.refresh()
    assert lists.table is whole
    assert fault_of(lists).startswith(f"apps.runtime.json{line}: ")
    assert reason in fault_of(lists)
    # A restart finds what was whole before.
    again = AgentLists(folder, ListMode.REPLACE, keep=keep)
    assert (again.table.version, fault_of(again)) == (whole.version, fault_of(lists))
    damage(folder, "apps.runtime.json", json.dumps({"entries": [{"name": "New", "pattern": "^Earwig"}]}))
    assert lists.refresh()
    assert fault_of(lists) == ""
    assert lists.table.classify("Earwig/1").app == "New"


def test_a_folder_that_is_not_there_leaves_our_own_table(tmp_path: Path) -> None:
    lists = AgentLists(tmp_path / "absent", ListMode.REPLACE, keep=tmp_path / "kept.json", writes=True)
    assert lists.table is our_table()
    assert fault_of(lists).startswith("bots.runtime.json: No such file")
    assert not (tmp_path / "kept.json").exists()
    write(tmp_path / "absent")
    assert lists.refresh()
    assert (fault_of(lists), lists.table.classify("curl/8").kind) == ("", AgentKind.UNKNOWN)


def test_a_kept_file_that_is_damaged_too_leaves_our_own_table(folder: Path) -> None:
    keep = folder.parent / "kept.json"
    (folder / "bots.runtime.json").unlink()
    for kept in (b"", b"[]", b"{}", json.dumps(dict.fromkeys(LIST_FILES, "{")).encode()):
        keep.write_bytes(kept)
        assert AgentLists(folder, ListMode.EXTEND, keep=keep).table is our_table()


def test_without_a_folder_there_is_our_own_table(tmp_path: Path) -> None:
    lists = AgentLists(None, ListMode.EXTEND, keep=tmp_path / "kept.json", writes=True)
    assert not lists.refresh()
    assert (lists.table, fault_of(lists)) == (our_table(), "")


def test_the_api_names_the_version_in_force(folder: Path) -> None:
    environ = {"CASTLEDGER_AGENT_LISTS": str(folder), "CASTLEDGER_AGENT_LISTS_MODE": "replace"}
    versions = ListVersions(load_settings(environ, data_dir=folder.parent).ingest)
    first = versions.read().agents
    assert first == build_table(read_list_files(folder), ListMode.REPLACE).version
    damage(folder, "apps.runtime.json", "{")
    assert versions.read().agents == first
    damage(folder, "apps.runtime.json", json.dumps({"entries": [{"name": "New", "pattern": "^New"}]}))
    assert versions.read().agents not in (first, our_table().version)


def test_the_open_tables_say_through_us_what_they_say_themselves() -> None:
    data = find_data()
    if data is None:
        pytest.skip("no real user agents: set CASTLEDGER_DATA to the folder that holds useragents/")
    table = build_table(read_list_files(data / "opawg-v2"), ListMode.REPLACE)
    samples = list(read_requests(data, OpenTables(data / "opawg-v2")))
    assert len(samples) > 8000
    for sample in samples:
        found = table.classify(sample.agent)
        if found.kind is not AgentKind.WATCH:
            assert (found.kind.label, found.app) == tuple(sample.theirs)
        else:
            assert sample.theirs.kind == "bot"
            assert classify(sample.agent).kind is AgentKind.WATCH
