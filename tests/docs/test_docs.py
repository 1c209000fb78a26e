"""What the documentation promises is so."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from analytics_core.own_profiles import KEYS, load_profiles
from analytics_core.permissions import ROLES, Permission
from analytics_core.profiles import PROFILES
from analytics_core.quotas import Metric
from analytics_core.settings import load_settings, variables
from analytics_core.sponsors import CATEGORIES
from analytics_core.spool import EVENT_ROW_BYTES, FRAME_HEADER_BYTES, HEADER_BYTES, ROW_BYTES
from analytics_core.tenant_settings import SETTINGS
from analytics_core.verdicts import Verdict
from tests.docs.generate import CONFIGURATION, ENVIRONMENT, TENANTS, configuration, environment, main, tenants

ROOT = Path(__file__).parents[2]


def test_no_generated_page_is_out_of_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert (main([]), capsys.readouterr().err) == (0, "")


def test_the_configuration_page_is_generated_from_the_settings() -> None:
    assert CONFIGURATION.read_text() == configuration()
    assert all(f"`{variable.name}`" in CONFIGURATION.read_text() for variable in variables())


def test_the_page_about_tenants_lists_what_they_set_and_what_is_counted() -> None:
    page = TENANTS.read_text()
    assert page == tenants(page)
    assert all(f"| `{key}` | `{setting.default}` |" in page for key, setting in SETTINGS.items())
    assert all(f"| `{metric}` |" in page for metric in Metric)


def test_the_example_of_an_environment_is_generated_and_holds_the_defaults() -> None:
    text = ENVIRONMENT.read_text()
    assert text == environment()
    assert all(line.startswith("#") for line in text.splitlines() if line)
    found = dict(re.findall(r"^#([A-Z_]+)=(.*)$", text, re.MULTILINE))
    assert found.pop("LEDGER_NAME") == ""
    assert found == {variable.name: variable.default for variable in variables()}
    # The parts of an address are refused without their host.
    without = {name: value for name, value in found.items() if not name.endswith(("_PORT", "_USER", "_DATABASE"))}
    assert load_settings(without) == load_settings({})


def test_every_dependency_has_a_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = list(project["project"]["dependencies"])
    for extra in project["project"]["optional-dependencies"].values():
        named += extra
    for group in project["dependency-groups"].values():
        named += group
    page = (ROOT / "docs" / "dependencies.md").read_text()
    # A group may take another in, whose own requirements are looked at as well.
    for requirement in (one for one in named if isinstance(one, str)):
        name = re.split(r"[^A-Za-z0-9_-]", requirement, maxsplit=1)[0]
        assert re.search(rf"\b{re.escape(name)}\b", page), f"{name} has no reason in docs/dependencies.md"


def test_every_verdict_is_explained_in_the_order_of_precedence() -> None:
    page = (ROOT / "docs" / "methodology.md").read_text()
    table = page[page.index("## Verdicts") : page.index("## Downloads")]
    places = [table.index(f"`{verdict.label}`") for verdict in Verdict if verdict]
    assert places == sorted(places)


def test_every_profile_and_every_key_of_ones_own_is_explained(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "methodology.md").read_text()
    profiles = page[page.index("## Profiles") : page.index("### Profiles of your own")]
    assert re.findall(r"^\| `([^`]+)` \|", profiles, re.MULTILINE) == list(PROFILES)
    own = page[page.index("### Profiles of your own") :]
    listed = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", own[: own.index("## Listeners")], re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(listed))) == sorted(KEYS)
    example = re.search(r"```toml\n(.*?)```", own, re.DOTALL)
    assert example is not None
    path = tmp_path / "profiles.toml"
    path.write_text(example[1])
    assert list(load_profiles(path))[len(PROFILES) :] == ["house"]


def test_the_roles_page_gives_what_each_role_may_do() -> None:
    page = (ROOT / "docs" / "members.md").read_text()
    (header,) = re.findall(r"^\| permission \| (.*) \|$", page, re.MULTILINE)
    assert header.split(" | ") == [role.value for role in ROLES]
    rows = re.findall(r"^\| `(\w+:\w+)` \| (.*) \|$", page, re.MULTILINE)
    assert [name for name, _ in rows] == [permission.value for permission in Permission]
    for name, cells in rows:
        has = ["yes" if Permission(name) in permissions else "" for permissions in ROLES.values()]
        assert [cell.strip() for cell in cells.split("|")] == has, name


def test_the_spools_page_gives_the_sizes_of_the_code() -> None:
    page = (ROOT / "docs" / "spool-format.md").read_text()
    assert f"## Header: {HEADER_BYTES} bytes" in page
    assert f"A hit's row has {ROW_BYTES} bytes" in page
    assert f"The row of an event has {EVENT_ROW_BYTES} bytes" in page
    assert f"| {FRAME_HEADER_BYTES} | | payload" in page


def test_the_sponsors_page_lists_the_categories_that_there_are() -> None:
    page = " ".join((ROOT / "docs" / "sponsors.md").read_text().split())
    listed = re.search(r"of this one vocabulary: ([a-z, ]+)\.", page)
    assert listed is not None
    assert tuple(listed[1].split(", ")) == CATEGORIES


def test_the_readme_gives_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "\npip install ./sdk '.[embedded]' && castledger up\n" in readme


def test_ci_runs_the_readmes_own_test_command() -> None:
    readme = (ROOT / "README.md").read_text()
    command = re.search(r"```sh\n(pip install nox && nox)\n```", readme)
    assert command is not None
    assert command[1] in (ROOT / ".ci" / "run").read_text().splitlines()


@pytest.mark.parametrize("page", sorted(path.name for path in (ROOT / "docs").glob("*.md")))
def test_links_between_pages_lead_somewhere(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (ROOT / "docs" / target).exists(), target
