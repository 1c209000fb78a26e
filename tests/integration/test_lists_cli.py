"""Lists fetched over real HTTP: checked before they take the place of those before, and never by themselves."""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from analytics_core.addresses import pack_address
from analytics_core.errors import ConfigError, InvalidInput, Unavailable
from analytics_core.network_tables import to_column
from analytics_core.networks import NetworkClass
from analytics_core.settings import load_settings
from castledger_server.cli import main
from castledger_server.list_sources import Kind, fetch_source, read_record, read_sources
from castledger_server.list_updates import list_lines, update_lists
from ingest.place_sources import open_places
from tests.address_databases import write_database

NOW = dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC)


class Mirror:
    """A web server of lists on loopback."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.asked.append(self.path)
                body = mirror.files.get(self.path)
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *arguments: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        if not self._thread.is_alive():
            return
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def write_sources(self, path: Path, kind: str, *files: tuple[str, str], content: dict[str, bytes]) -> Path:
        """Write a list of one source of files (URL path and name), pinned to what *content* says of the name."""
        lines = [
            "[[source]]",
            'name = "ours"',
            f'kind = "{kind}"',
            'gives = "a test"',
            'licence = "CC0"',
            'credit = "by us"',
            'homepage = "https://example.com"',
            "files = [",
        ]
        for at, name in files:
            sha256 = hashlib.sha256(content[name]).hexdigest()
            lines.append(f'  {{ url = "{self.url}{at}", name = "{name}", sha256 = "{sha256}" }},')
        path.write_text("\n".join([*lines, "]"]))
        return path


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    made = Mirror()
    yield made
    made.close()


def test_lists_are_fetched_together_and_recorded(
    mirror: Mirror, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = {"datacenter-a.txt": b"192.0.2.0/24\n", "relay-a.txt": b"198.51.100.0/24\n"}
    mirror.files = {"/dc": content["datacenter-a.txt"], "/relay": content["relay-a.txt"]}
    files = (("/dc", "datacenter-a.txt"), ("/relay", "relay-a.txt"))
    sources = mirror.write_sources(tmp_path / "sources.toml", "networks", *files, content=content)
    arguments = ["--data-dir", str(tmp_path / "data"), "--sources", str(sources)]
    assert main(["lists", "ls", *arguments]) == 0
    told = capsys.readouterr().out
    assert told.count("not fetched") == 2
    assert mirror.asked == []
    assert main(["lists", "update", "ours", *arguments]) == 0
    told = capsys.readouterr().out
    for text in ("licence CC0", "https://example.com", "datacenter-a.txt: new, 13 bytes", "show this: by us"):
        assert text in told
    settings = load_settings(
        {"CASTLEDGER_DATA_DIR": str(tmp_path / "data"), "DATABASE_URL": "postgresql://x@localhost/x"}
    ).ingest
    found = open_places(settings).networks
    addresses = to_column(map(pack_address, ("192.0.2.1", "198.51.100.1")))
    assert found.classes(addresses).tolist() == [NetworkClass.DATACENTER, NetworkClass.RELAY]
    assert main(["lists", "ls", *arguments]) == 0
    assert "13 bytes, fetched today, sha256" in capsys.readouterr().out
    assert main(["lists", "update", "all", *arguments]) == 0
    assert "unchanged" in capsys.readouterr().out
    assert sorted(path.name for path in settings.lists_dir.iterdir()) == [
        "datacenter-a.txt",
        "relay-a.txt",
        "sources.json",
    ]


def test_what_cannot_be_used_changes_nothing(mirror: Mirror, tmp_path: Path) -> None:
    folder = tmp_path / "lists"
    good = {"datacenter-a.txt": b"192.0.2.0/24\n", "vpn-a.txt": b"198.51.100.0/24\n"}
    files = (("/dc", "datacenter-a.txt"), ("/vpn", "vpn-a.txt"))
    mirror.files = {"/dc": good["datacenter-a.txt"], "/vpn": good["vpn-a.txt"]}
    sources = read_sources(mirror.write_sources(tmp_path / "good.toml", "networks", *files, content=good))
    list(update_lists(sources, ["ours"], folder, now=NOW))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    # The first file is a newer one and good; the second is half of one.
    bad = {"datacenter-a.txt": b"203.0.113.0/24\n", "vpn-a.txt": b"198.51.100.0/24\n198.51.\n"}
    mirror.files = {"/dc": bad["datacenter-a.txt"], "/vpn": bad["vpn-a.txt"]}
    with pytest.raises(ConfigError, match=r"has the sha256 .* what was there before stays"):
        list(update_lists(sources, ["ours"], folder, now=NOW))
    pinned = read_sources(mirror.write_sources(tmp_path / "bad.toml", "networks", *files, content=bad))
    with pytest.raises(ConfigError, match=r"vpn-a\.txt:2"):
        list(update_lists(pinned, ["ours"], folder, now=NOW))
    del mirror.files["/vpn"]
    with pytest.raises(Unavailable, match="answers 404"):
        list(update_lists(pinned, ["ours"], folder, now=NOW))
    mirror.close()
    with pytest.raises(Unavailable, match="cannot be had"):
        list(update_lists(pinned, ["ours"], folder, now=NOW))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_months_database_is_unpacked_and_used_without_further_settings(mirror: Mirror, tmp_path: Path) -> None:
    settings = load_settings(
        {"CASTLEDGER_DATA_DIR": str(tmp_path), "DATABASE_URL": "postgresql://x@localhost/x"}
    ).ingest
    database = write_database(tmp_path / "made.mmdb", {"asn": "AS64496"}, {"asn": "AS64511"}).read_bytes()
    # On the first of a month only the one before is there.
    mirror.files = {"/asn-2026-10.mmdb.gz": gzip.compress(database)}
    content = {"asns.mmdb": database}
    sources = read_sources(
        mirror.write_sources(tmp_path / "s.toml", "asns", ("/asn-{month}.mmdb.gz", "asns.mmdb"), content=content)
    )
    assert open_places(settings).asns.version == "none"
    (fetched,) = fetch_source(sources["ours"], settings.lists_dir, check=lambda folder: None, now=NOW).values()
    assert mirror.asked == ["/asn-2026-11.mmdb.gz", "/asn-2026-10.mmdb.gz"]
    assert fetched.url.endswith("/asn-2026-10.mmdb.gz")
    assert read_record(settings.lists_dir) == {"asns.mmdb": fetched}
    assert open_places(settings).asns.asns(to_column([pack_address("1.2.3.4")])).tolist() == [64496]
    told = "\n".join(list_lines(sources, settings.lists_dir, now=NOW + dt.timedelta(days=40)))
    assert "asns.mmdb" in told
    assert "40 days ago" in told
    for damaged in (gzip.compress(database)[:-20], database):
        mirror.files = {"/asn-2026-11.mmdb.gz": damaged}
        with pytest.raises(ConfigError, match=r"cut off|no gzip"):
            list(update_lists(sources, ["ours"], settings.lists_dir, now=NOW))


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"no source 'x4b'; there are: x4b-networks, dbip-countries"):
        list(update_lists(read_sources(), ["x4b"], tmp_path, now=NOW))


def test_built_in_sources_are_of_every_kind_and_tell_their_licence() -> None:
    sources = read_sources()
    assert {source.kind for source in sources.values()} == set(Kind)
    for source in sources.values():
        assert source.licence in ("MIT", "CC BY 4.0")
        assert bool(source.credit) == (source.licence == "CC BY 4.0")
        assert all(file.url.startswith("https://") for file in source.files)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('files = [{ url = "https://example.com/a", name = "../a.txt" }]', "no name inside"),
        ('files = [{ url = "https://example.com/a", name = "/a.txt" }]', "no name inside"),
        ('files = [{ url = "https://example.com/a", name = "sources.json" }]', "no name inside"),
        ('files = [{ url = "https://example.com/a", name = "./shared.txt" }]', "no name inside"),
        ('files = [{ url = "ftp://example.com/a", name = "a.txt" }]', "http"),
        ('files = [{ url = "http://example.com/a", name = "a.txt" }]', "takes a sha256"),
        ('files = [{ url = "https://example.com/a", name = "a.txt", sha = "1" }]', "unknown field `sha`"),
        ("files = []", "length >= 1"),
    ],
)
def test_a_list_of_sources_that_makes_no_sense_is_refused(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "sources.toml"
    path.write_text(
        f'[[source]]\nname = "a"\nkind = "networks"\ngives = "g"\nlicence = "MIT"\nhomepage = "h"\n{line}\n'
    )
    with pytest.raises(ConfigError, match=rf"sources\.toml: .*{reason}"):
        read_sources(path)
