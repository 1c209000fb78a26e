"""Build the wheel: the modules without comments, and without docstrings and ``__all__`` of what is not public.

These are for whoever changes the code, and has the repository; programs that use it would carry a tenth more. Lines
stay where they are, so that a traceback leads to the same line of either.
"""

from __future__ import annotations

import ast
import io
import itertools
import re
import tokenize
from pathlib import Path

from setuptools import setup  # type: ignore[import-untyped]
from setuptools.command.build_py import build_py  # type: ignore[import-untyped]

_SURFACE = Path(__file__).with_name("public_api.txt")


def _read_surface() -> frozenset[str]:
    """Name the public modules, classes, constants and functions, methods among them."""
    lines = _SURFACE.read_text("utf-8").splitlines()
    found = (re.match(r" *(?:async )?(?:class |def |\[|(?=\w+ = ))([\w.]+)", line) for line in lines)
    return frozenset(match[1] for match in found if match is not None)


def bare(source: str, *, module: str, public: frozenset[str]) -> str:
    """Blank comments, and what a *module*, classes, functions and constants say of themselves that are not *public*."""
    lines = source.splitlines(keepends=True)

    def blank(told: ast.stmt) -> None:
        last = told.end_lineno or told.lineno
        lines[told.lineno - 1 : last] = ["\n"] * (last - told.lineno + 1)

    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip() + "\n"
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        name = module if isinstance(node, ast.Module) else node.name
        # One that is all there is of a body has to stay.
        if name not in public and ast.get_docstring(node) is not None and len(node.body) > 1:
            blank(node.body[0])
    for named, below in itertools.pairwise(tree.body):
        match named, below:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str())) if name not in public:
                blank(below)
            case ast.Assign(targets=[ast.Name("__all__")]), _ if module not in public:
                blank(named)
    return "".join(lines)


class BuildBare(build_py):  # type: ignore[misc]
    """Write each module into the wheel as it is to be there."""

    def build_module(
        self, module: str, module_file: str, package: str | list[str] | tuple[str, ...]
    ) -> tuple[str, bool]:
        """Copy a module; an editable installation has the sources themselves."""
        target, is_copied = super().build_module(module, module_file, package)
        if not self.editable_mode:
            folders = package.split(".") if isinstance(package, str) else package
            name = ".".join(folders if module == "__init__" else [*folders, module])
            source = Path(module_file).read_text("utf-8")
            Path(target).write_text(bare(source, module=name, public=_read_surface()), "utf-8")
        return target, is_copied


setup(cmdclass={"build_py": BuildBare})
