"""What is published: the wheel, the surface, the types, and an import that does nothing."""

from __future__ import annotations

import ast
import doctest
import importlib
import io
import json
import pkgutil
import re
import shutil
import subprocess
import sys
import tokenize
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import castledger
from sdk.tests.public_api import SNAPSHOT, describe

SDK = Path(__file__).parents[1]
MAX_WHEEL_BYTES = 100 * 1024
# In a process of its own, since the build changes the folder that it works in.
BUILD = "import sys; from setuptools.build_meta import build_wheel; print(build_wheel(sys.argv[1]))"
# The host's settings and files are none of an import's business, and neither are threads, sockets and loggers.
IMPORT = """
import asyncio, logging, os, sys, threading
import msgspec

class Sealed(dict):
    def __getitem__(self, name):
        raise AssertionError(f"the environment was read: {name}")
    get = __contains__ = __iter__ = items = keys = __getitem__

done = []
def watch(event, args):
    if event.startswith(("socket.", "subprocess.", "os.system", "os.fork", "shutil.", "os.mkdir", "os.remove")):
        done.append(event)
    if event == "open" and args[1] is not None and set(str(args[1])) & set("wax+"):
        done.append(f"{event} {args[0]}")
    if event == "import" and args[0].split(".")[0] in {"httpx", "polars", "pandas", "numpy", "argparse"}:
        done.append(f"{event} {args[0]}")

def state():
    loggers = {name: (list(logger.handlers), logger.level) for name, logger in logging.root.manager.loggerDict.items()
               if isinstance(logger, logging.Logger) and (logger.handlers or logger.level)}
    return threading.active_count(), list(logging.root.handlers), logging.root.level, loggers, sys.path[:]

sys.dont_write_bytecode = True
before, environ = state(), os.environ
os.environ = Sealed()
sys.addaudithook(watch)
import castledger
os.environ = environ
assert state() == before, (state(), before)
ours = {"analytics_core", "api", "castledger_server", "ingest", "migrations", "prefix_redirect"}
print(done, [name for name in sys.modules if name.split(".")[0] in ours])
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy, so that nothing is left beside the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "sdk"
    shutil.copytree(SDK, source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "dist"))
    build = [sys.executable, "-c", BUILD, str(folder)]
    done = subprocess.run(build, cwd=source, check=True, capture_output=True, text=True)
    return folder / done.stdout.splitlines()[-1]


def test_the_wheel_is_small_and_holds_the_package_alone(wheel: Path) -> None:
    assert wheel.name == f"castledger-{castledger.__version__}-py3-none-any.whl"
    assert wheel.stat().st_size <= MAX_WHEEL_BYTES
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    info = f"castledger-{castledger.__version__}.dist-info/"
    assert {name.split("/")[0] + "/" for name in names} == {"castledger/", info}
    assert {"castledger/py.typed", "castledger/__main__.py", f"{info}licenses/LICENSE"} <= set(names)
    sources = {f"castledger/{path.relative_to(SDK / 'src' / 'castledger').as_posix()}"
               for path in (SDK / "src" / "castledger").rglob("*.py")}  # fmt: skip
    assert sources == {name for name in names if name.endswith(".py")}


def _only_code(source: str, *, is_public: bool) -> str:
    """Show a module's code with the lines of all of it, no docstring, and what it exports where that is for all."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            is_told = ast.get_docstring(node) is not None
            node.body = node.body[1:] if is_told and len(node.body) > 1 else node.body
    # What is said below constants is for readers too.
    tree.body = [
        node for node in tree.body if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant)
    ]
    if not is_public:
        tree.body = [
            node for node in tree.body if not isinstance(node, ast.Assign) or ast.unparse(node.targets[0]) != "__all__"
        ]
    return ast.dump(tree, include_attributes=True)


def test_the_wheels_modules_are_the_sources_without_what_is_for_whoever_changes_them(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for path in (SDK / "src" / "castledger").rglob("*.py"):
            source, name = path.read_text("utf-8"), path.relative_to(SDK / "src" / "castledger").as_posix()
            built = archive.read(f"castledger/{name}").decode()
            is_public = not re.search(r"(^|/)_(?!_init__)", name)
            assert _only_code(built, is_public=is_public) == _only_code(source, is_public=is_public), path
            found = tokenize.generate_tokens(io.StringIO(built).readline)
            assert not [token.string for token in found if token.type == tokenize.COMMENT], path


def test_what_is_public_is_explained_in_the_wheel_as_in_the_sources(wheel: Path) -> None:
    show = """
import importlib, inspect, json, sys
sys.path.insert(0, sys.argv[1])
docs = {}
for line in open(sys.argv[2], encoding="utf-8"):
    if line.startswith("["):
        module = importlib.import_module(line[1:].split("]")[0])
        docs[module.__name__] = inspect.getdoc(module)
    elif line.startswith(("class ", "def ", "async def ")):
        name = line.removeprefix("async ").split()[1].split("(")[0]
        kind = getattr(module, name)
        docs[module.__name__, name] = inspect.getdoc(kind)
        for member in vars(kind) if inspect.isclass(kind) else ():
            if not member.startswith("_"):
                docs[module.__name__, name, member] = inspect.getdoc(getattr(kind, member))
print(json.dumps([[str(key), doc] for key, doc in docs.items()]), module.__file__)
"""
    told = [
        subprocess.run(
            [sys.executable, "-c", show, str(where), str(SNAPSHOT)], check=True, capture_output=True, text=True
        ).stdout.rpartition(" ")
        for where in (wheel, SDK / "src")
    ]
    assert told[0][0] == told[1][0]
    assert str(wheel) in told[0][2]


def test_the_wheel_says_what_it_is_and_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        metadata = Parser().parsestr(
            archive.read(f"castledger-{castledger.__version__}.dist-info/METADATA").decode("utf-8")
        )
        entries = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
    needed = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert needed == ["httpx>=0.27", "msgspec>=0.19"]
    assert metadata.get_all("Provides-Extra") == ["polars", "pandas"]
    assert metadata["Requires-Python"] == ">=3.11"
    versions = [line.rpartition(" ")[2] for line in metadata.get_all("Classifier", []) if ":: 3." in line]
    assert versions == ["3.11", "3.12", "3.13", "3.14"]
    # The server's command has the name; this one is `python -m castledger`.
    assert entries == []


def test_the_changelog_tells_of_the_version() -> None:
    assert f"\n## {castledger.__version__}" in (SDK / "CHANGELOG.md").read_text("utf-8")


def test_the_public_surface_is_what_was_promised() -> None:
    assert describe() == SNAPSHOT.read_text("utf-8"), "renew it: python -m sdk.tests.public_api --write"


def test_the_examples_of_the_docstrings_hold() -> None:
    names = [module.name for module in pkgutil.walk_packages(castledger.__path__, "castledger.")]
    names.remove("castledger.__main__")
    results = [doctest.testmod(importlib.import_module(name)) for name in names]
    assert sum(result.failed for result in results) == 0
    assert sum(result.attempted for result in results) >= 12


def test_an_import_does_nothing_but_define() -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", IMPORT], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[] []\n", "")


def _pyright() -> list[str]:
    """Find pyright, and try it: its wheel fetches the program on its first run, which needs node and a registry."""
    program = Path(sys.executable).with_name("pyright")
    if not program.exists():
        pytest.skip("pyright is not installed here")
    try:
        subprocess.run([program, "--version"], check=True, capture_output=True, timeout=120)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"pyright cannot run here: {error}")
    return [str(program), "--pythonpath", sys.executable]


def test_pyright_makes_of_it_what_mypy_does(tmp_path: Path) -> None:
    # A copy: the folder of the tests may have settings of its own.
    shutil.copytree(SDK / "tests" / "typing", tmp_path, dirs_exist_ok=True)
    config = {
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
        "extraPaths": [str(SDK / "src")],
        "reportUnnecessaryTypeIgnoreComment": "error",
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(config))
    command = [*_pyright(), "--outputjson", "-p", str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    found = json.loads(done.stdout)
    assert found["summary"]["filesAnalyzed"] > 0
    assert [(one["range"]["start"]["line"] + 1, one["message"]) for one in found["generalDiagnostics"]] == []
