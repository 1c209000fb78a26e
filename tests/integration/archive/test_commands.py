"""``castledger export`` and ``castledger import`` by command."""

from __future__ import annotations

import asyncio
import json
import stat
import sys
from pathlib import Path

import pytest

from analytics_core.settings import DatabaseSettings
from castledger_server.cli import main
from tests.archives import SLUG, fill
from tests.factories import make_tenant


@pytest.fixture
def run(database: DatabaseSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", str(database.url))
    monkeypatch.setenv("CASTLEDGER_DATA_DIR", str(tmp_path / "data"))


@pytest.mark.usefixtures("run")
def test_a_ledger_goes_from_one_installation_to_another(
    database: DatabaseSettings,
    second_database: DatabaseSettings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asyncio.run(fill(database, tmp_path / "spool"))
    out = tmp_path / "archive"
    assert main(["export", "--out", str(out), "--tenant", SLUG]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"exported {SLUG} to {out}: 2 podcasts, 3 episodes, ")
    # Parquet, as pyarrow is there; nobody else may read it.
    assert said.out.endswith(" MB, parquet\n")
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["format"], manifest["format_version"], manifest["rules"]) == (
        "castledger-archive",
        1,
        "castledger-1.2",
    )
    assert manifest["filters"] == {"podcasts": None, "from": None, "to": None}
    assert manifest["schema"] >= "0020"
    monkeypatch.setenv("DATABASE_URL", str(second_database.url))
    assert main(["import", str(out)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"imported {out} into {SLUG}: 2 podcasts, 3 episodes, ")
    assert second.startswith("api_key: cl_")
    assert main(["import", str(out)]) == 2
    assert capsys.readouterr().err == f"castledger: this archive is already imported: its podcasts are {SLUG}'s\n"
    # The only tenant need not be named.
    assert main(["export", "--out", str(tmp_path / "again"), "--format", "ndjson", "--from", "2026-11-01"]) == 0
    assert capsys.readouterr().out.endswith(" MB, ndjson\n")
    assert (tmp_path / "again" / "hits" / "2026-11-02.ndjson.gz").is_file()


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--tenant", "nobody"], "--tenant: there is no tenant 'nobody'; there are: one, two"),
        ([], "--tenant: say which with --tenant; there are: one, two"),
        (["--tenant", "one", "--podcast", "x"], "--podcast: 'x' is no id of a podcast"),
        (
            ["--tenant", "one", "--podcast", "019abc00-0000-7000-8000-000000000000"],
            "--podcast: the tenant has no podcast 019abc00-0000-7000-8000-000000000000",
        ),
        (["--tenant", "one", "--from", "2026-13-01"], "--from: '2026-13-01' is no date such as 2026-11-01"),
        (
            ["--tenant", "one", "--from", "2026-11-02", "--to", "2026-11-02"],
            "--to: 2026-11-02 has to be later than --from, which is 2026-11-02",
        ),
    ],
)
def test_what_cannot_be_exported_is_named(
    arguments: list[str], complaint: str, database: DatabaseSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for slug in ("one", "two"):
        asyncio.run(make_tenant(database, slug))
    out = tmp_path / "archive"
    assert main(["export", "--out", str(out), *arguments]) == 2
    assert capsys.readouterr().err == f"castledger: {complaint}\n"
    assert not out.exists()


@pytest.mark.usefixtures("run")
def test_a_folder_that_is_not_empty_is_left_alone(
    database: DatabaseSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(make_tenant(database, "one"))
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "mine").write_text("x")
    assert main(["export", "--out", str(tmp_path / "archive")]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "archive").iterdir()] == ["mine"]
    assert main(["export", "--out", str(tmp_path / "archive" / "mine" / "x")]) == 2
    assert "cannot be made (Not a directory)" in capsys.readouterr().err


@pytest.mark.usefixtures("run")
def test_parquet_without_pyarrow_is_refused_and_lines_are_written(
    database: DatabaseSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(make_tenant(database, "one"))
    assert main(["export", "--out", str(tmp_path / "parquet")]) == 0
    # To the import system, a module that is not there.
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    capsys.readouterr()
    for command in (
        ["export", "--out", str(tmp_path / "x"), "--format", "parquet"],
        ["import", str(tmp_path / "parquet"), "--tenant", "new"],
    ):
        assert main(command) == 2
        assert "Parquet needs pyarrow: pip install '.[archive]'" in capsys.readouterr().err
    assert main(["export", "--out", str(tmp_path / "lines")]) == 0
    assert capsys.readouterr().out.endswith(" MB, ndjson\n")
