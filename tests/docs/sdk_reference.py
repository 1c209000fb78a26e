"""The SDK's reference: its public names with their signatures and docstrings."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import itertools
import pkgutil
import re
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Final

import msgspec

import castledger
from castledger._nouns import pages, sends

__all__ = ("public_modules", "write_reference")

_HEAD: Final = """\
# SDK reference

Every public name of the distribution `castledger`, by module, with what its docstring says. This page is generated from
the code. For a start read the [README](../sdk/README.md).
"""
# What is run rather than imported.
_COMMAND: Final = "castledger.cli"
_WIDTH: Final = 110
_SECTIONS: Final = ("Args", "Attributes", "Raises", "Returns", "Source", "Yields")
_ENTRY: Final = re.compile(r"^(\*{0,2}[\w.]+): (.*)$")


@functools.cache
def public_modules() -> tuple[ModuleType, ...]:
    """Find the modules that one may import, the package itself first."""
    names = (info.name for info in pkgutil.walk_packages(castledger.__path__, "castledger."))
    public = (name for name in names if "._" not in name and not name.startswith(_COMMAND))
    return castledger, *(importlib.import_module(name) for name in public)


def write_reference() -> str:
    """Write the page."""
    lines = [_HEAD]
    described: dict[int, str] = {}
    for module in public_modules():
        lines.append(f"## {module.__name__}\n")
        lines += [*_prose(module.__doc__ or ""), ""]
        for name in sorted(module.__all__, key=lambda name: (name.lower(), name)):
            if name.startswith("__"):
                continue
            value = getattr(module, name)
            first = described.setdefault(id(value), module.__name__)
            lines.append(f"### {name}\n")
            lines += [f"That of `{first}`.", ""] if first != module.__name__ else _describe(module, name, value)
    return "\n".join(lines).rstrip("\n") + "\n"


def _describe(module: ModuleType, name: str, value: Any) -> list[str]:
    lines = [*_signature(name, value), *_prose(_own_doc(name, value)), ""]
    if not isinstance(value, type):
        return lines
    twin = getattr(module, name.removeprefix("Async"), None) if name.startswith("Async") else None
    for member, function in _methods(value):
        if twin is not None and inspect.getdoc(getattr(twin, member, None)) == inspect.getdoc(function):
            continue
        is_property = isinstance(function, property)
        title = f"{name}.{member}" if is_property else f"{name}.{member}()"
        lines.append(f"#### {title}\n")
        if not is_property:
            lines += _signature(member, function)
        lines += [*_prose(inspect.getdoc(function) or ""), ""]
    if twin is not None:
        lines += [f"All else is as with `{twin.__name__}`, awaited where that waits.", ""]
    return lines


def _own_doc(name: str, value: Any) -> str:
    if isinstance(value, (type, FunctionType)):
        return inspect.cleandoc(value.__doc__ or "")
    return _constant_docs()[name]


@functools.cache
def _constant_docs() -> dict[str, str]:
    """Read what is said below constants and aliases, which is in their source alone."""
    found: dict[str, str] = {}
    for path in sorted(Path(castledger.__file__).parent.rglob("*.py")):
        body = ast.parse(path.read_text()).body
        for statement, below in itertools.pairwise(body):
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                match below:
                    case ast.Expr(ast.Constant(str(text))):
                        found[statement.target.id] = inspect.cleandoc(text)
    return found


def _is_public(kind: type) -> bool:
    return any(
        kind.__name__ in module.__all__ and getattr(module, kind.__name__) is kind for module in public_modules()
    )


def _methods(kind: type) -> Iterator[tuple[str, Any]]:
    """Go through a class's own members, and those of bases that nobody can look up here."""
    bases = (base for base in kind.__mro__[1:] if base.__module__.startswith("castledger") and not _is_public(base))
    members = itertools.chain.from_iterable(vars(one).items() for one in (kind, *bases))
    for name, value in dict(members).items():
        function = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
        function = value.question if isinstance(value, (sends, pages)) else function
        is_ours = isinstance(function, property) or inspect.isfunction(function)
        if is_ours and not name.startswith("_") and inspect.getdoc(function):
            yield name, function


def _default(value: object) -> str:
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return repr(value)


def _parameters(function: Callable[..., Any]) -> tuple[list[str], str]:
    signature = inspect.signature(function)
    parts: list[str] = []
    kind: Any = None
    for parameter in signature.parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and kind not in (
            parameter.KEYWORD_ONLY,
            parameter.VAR_POSITIONAL,
        ):
            parts.append("*")
        kind = parameter.kind
        text = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(kind, "") + parameter.name
        if parameter.annotation is not parameter.empty:
            text += f": {_annotation(parameter.annotation)}"
        if parameter.default is not parameter.empty:
            text += f" = {_default(parameter.default)}"
        parts.append(text)
    is_told = signature.return_annotation not in (signature.empty, "None", None)
    return parts, f" -> {_annotation(signature.return_annotation)}" if is_told else ""


def _annotation(given: object) -> str:
    return given if isinstance(given, str) else inspect.formatannotation(given)


def _field(field: msgspec.structs.FieldInfo, kind: type) -> str:
    default = "" if field.default is msgspec.NODEFAULT else f" = {_default(field.default)}"
    return f"    {field.name}: {_annotation(kind.__annotations__[field.name])}{default}"


def _required(annotation: str, field: str, kind: Any) -> str:
    return f"Required[{annotation}]" if field in kind.__required_keys__ else annotation


def _signature(name: str, value: Any) -> list[str]:
    if typing.is_typeddict(value):
        given = inspect.get_annotations(value).items()
        members = [f"    {field}: {_required(kind.__forward_arg__, field, value)}" for field, kind in given]
        lines = [f"class {name}(TypedDict, total=False):", *members]
    elif isinstance(value, type) and issubclass(value, (BaseException, msgspec.Struct)):
        bases = ", ".join(base.__name__ for base in value.__bases__ if base.__module__.startswith("castledger"))
        fields = msgspec.structs.fields(value) if issubclass(value, msgspec.Struct) else ()
        own = [_field(field, value) for field in fields if field.name in value.__annotations__]
        head = f"class {name}({bases}):" if bases else f"class {name}:"
        lines = [head, *own] if own else [f"{head} ..."]
    elif isinstance(value, (type, FunctionType)):
        parts, returned = _parameters(value)
        prefix = "class " if isinstance(value, type) else "async def " if inspect.iscoroutinefunction(value) else "def "
        line = f"{prefix}{name}({', '.join(parts)}){'' if prefix == 'class ' else returned}"
        if len(line) > _WIDTH:
            tail = "" if prefix == "class " else returned
            lines = [f"{prefix}{name}(", *(f"    {part}," for part in parts), f"){tail}"]
        else:
            lines = [line]
    else:
        shown = _default(value) if isinstance(value, str) else inspect.formatannotation(value)
        lines = [f"{name} = {shown}"]
    # As a formatter of code in pages would have it.
    return ["```python", *(re.sub(r"'([^'\"]*)'", r'"\1"', line) for line in lines), "```", ""]


def _words(text: str) -> str:
    """Write reStructuredText's code and references as Markdown."""
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", text)
    return re.sub(r"``(.+?)``", r"`\1`", text)


def _prose(doc: str) -> list[str]:
    """Write a docstring of Google's style as Markdown."""
    lines: list[str] = []
    in_section = in_example = False
    for line in inspect.cleandoc(doc).splitlines():
        if in_example and not line.strip():
            lines.append("```")
            in_example = False
        if line.startswith(">>>") and not in_example:
            lines.append("```pycon")
            in_example = True
        if in_example:
            lines.append(line)
        elif line.rstrip(":") in _SECTIONS and line.endswith(":"):
            lines += [f"*{line}*", ""]
            in_section = True
        elif in_section and line.startswith("    "):
            entry = _ENTRY.match(line[4:])
            lines.append(_words(f"- `{entry[1]}`: {entry[2]}" if entry else f"  {line.strip()}"))
        else:
            in_section = in_section and not line.strip()
            lines.append(_words(line))
    return [*lines, "```"] if in_example else lines
