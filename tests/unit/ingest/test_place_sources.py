"""Lists and databases that are replaced while ingest runs: read once they stay, and never when they are damaged."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import pytest

from analytics_core.addresses import pack_address
from analytics_core.asns import NoAsns
from analytics_core.clock import FixedClock
from analytics_core.errors import ConfigError
from analytics_core.network_tables import to_column
from analytics_core.networks import NetworkClass
from analytics_core.settings import IngestSettings, load_settings
from api.lists import ListVersions
from ingest.place_sources import PlaceSources, PlacesWatch, open_places
from tests.address_databases import write_database


@pytest.fixture
def settings(tmp_path: Path) -> IngestSettings:
    write_database(tmp_path / "asn.mmdb", {"asn": "AS1"}, {"asn": "AS2"})
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "vpn.txt").write_text("192.0.2.0/24\n")
    environ = {
        "CASTLEDGER_DATA_DIR": str(tmp_path),
        "CASTLEDGER_ASN_DATABASE": str(tmp_path / "asn.mmdb"),
        "DATABASE_URL": "postgresql://castledger@localhost/castledger",
    }
    return load_settings(environ).ingest


def replace(path: Path, text: str) -> None:
    """Put another file in a list's place, as an update does."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


def classes(sources: PlaceSources | None, address: str) -> int:
    assert sources is not None
    return int(sources.networks.classes(to_column([pack_address(address)]))[0])


def test_what_is_replaced_is_read_once_it_stays(settings: IngestSettings) -> None:
    watch = PlacesWatch(settings)
    assert watch.look() is None
    replace(settings.lists_dir / "vpn.txt", "198.51.100.0/24\n")
    # It may be on its way still.
    assert watch.look() is None
    found = watch.look()
    assert classes(found, "198.51.100.1") == NetworkClass.VPN
    assert classes(found, "192.0.2.1") == NetworkClass.NONE
    assert watch.look() is None
    (settings.lists_dir / "datacenter.csv").write_text("ASN\n2\n")
    assert [watch.look() is None, watch.look() is None, watch.look() is None] == [True, False, True]
    assert watch.fault is None


def test_a_damaged_list_leaves_the_one_before_in_force(settings: IngestSettings) -> None:
    watch, versions = PlacesWatch(settings), ListVersions(settings)
    before = versions.read()
    assert before.networks == open_places(settings).networks.version
    replace(settings.lists_dir / "vpn.txt", "192.0.2.0/24\n198.51.100.\n")
    assert [watch.look(), watch.look()] == [None, None]
    assert "vpn.txt:2" in str(watch.fault)
    assert "stays in force" in str(watch.fault)
    # What answers say of lists is what hits are judged by.
    assert versions.read() == before
    # It is not read again and again, and said for as long as it lasts.
    assert watch.look() is None
    assert "vpn.txt:2" in str(watch.fault)
    replace(settings.lists_dir / "vpn.txt", "192.0.2.0/24\n198.51.100.0/24\n")
    assert watch.look() is None
    assert classes(watch.look(), "198.51.100.1") == NetworkClass.VPN
    assert watch.fault is None
    assert versions.read().networks not in (before.networks, "unreadable")


def test_a_damaged_list_of_shared_addresses_leaves_the_one_before_in_force(settings: IngestSettings) -> None:
    path = settings.lists_dir / "shared.txt"
    path.write_text("192.0.2.0/28 2026-01-05 Office\n")
    clock = FixedClock(dt.datetime(2026, 1, 10, tzinfo=dt.UTC))
    watch, before = PlacesWatch(settings, clock=clock), open_places(settings, clock=clock)
    for text, fault in (
        ("192.0.2.0/28 2026-01-05 Office\n192.0.2.0/8 2026-01-05 All\n", "shared.txt:2: '192.0.2.0/8' is wider"),
        ("192.0.2.0/28 2026-01-12 Office\n", "shared.txt:1: 2026-01-12 has not come yet"),
    ):
        replace(path, text)
        assert [watch.look(), watch.look()] == [None, None]
        assert fault in str(watch.fault)
        assert "stays in force" in str(watch.fault)
    replace(path, "192.0.2.0/28 2026-01-11 Office\n")
    assert watch.look() is None
    found = watch.look()
    assert found is not None
    assert found.networks.shared_entries[0].validated == dt.date(2026, 1, 11)
    assert before.networks.version != found.networks.version
    assert watch.fault is None


def test_a_database_that_is_damaged_or_gone_leaves_the_one_before_in_force(settings: IngestSettings) -> None:
    path = settings.asn_database
    assert path is not None
    watch = PlacesWatch(settings)
    path.write_bytes(b"half of a download")
    assert [watch.look(), watch.look()] == [None, None]
    assert "CASTLEDGER_ASN_DATABASE" in str(watch.fault)
    path.unlink()
    assert [watch.look(), watch.look()] == [None, None]
    assert "CASTLEDGER_ASN_DATABASE" in str(watch.fault)
    write_database(path, {"asn": "AS7"}, {"asn": "AS8"})
    os.utime(path, (0, 0))
    assert watch.look() is None
    found = watch.look()
    assert found is not None
    assert found.asns.asns(to_column([pack_address("1.2.3.4")])).tolist() == [7]
    assert not isinstance(found.asns, NoAsns)


def test_what_is_damaged_at_the_start_is_named_and_refused(settings: IngestSettings) -> None:
    (settings.lists_dir / "vpn.txt").write_text("192.0.2.0/24\n\nnot a network\n")
    with pytest.raises(ConfigError, match=r"CASTLEDGER_LISTS_DIR: vpn\.txt:3"):
        open_places(settings)
    assert ListVersions(settings).read().networks == "unreadable"
