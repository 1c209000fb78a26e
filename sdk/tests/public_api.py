"""The SDK's public surface as text: `python -m sdk.tests.public_api --write` renews `sdk/public_api.txt`.

What a line says is promised; one that changes or goes is a change that users have to be told of.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

import castledger
from castledger._nouns import pages, sends

__all__ = ("SNAPSHOT", "describe")

SNAPSHOT: Final = Path(__file__).parents[1] / "public_api.txt"


def _modules() -> list[str]:
    """Name the package and its public modules."""
    found = pkgutil.walk_packages(castledger.__path__, "castledger.")
    public = [module.name for module in found if not any(part.startswith("_") for part in module.name.split("."))]
    return ["castledger", *sorted(public)]


def _default(value: Any) -> str:
    named = getattr(value, "__qualname__", None)
    return str(named) if named is not None else repr(value)


def _signature(name: str, function: Any) -> str:
    parts: list[str] = []
    is_keyword_only = False
    signature = inspect.signature(function)
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not is_keyword_only:
            is_keyword_only = True
            parts.append("*")
        text = parameter.name
        if parameter.annotation is not parameter.empty:
            text += f": {parameter.annotation}"
        if parameter.default is not parameter.empty:
            text += f" = {_default(parameter.default)}"
        parts.append(text)
    returned = "" if signature.return_annotation is signature.empty else f" -> {signature.return_annotation}"
    kind = "async def" if inspect.iscoroutinefunction(function) else "def"
    return f"{kind} {name}({', '.join(parts)}){returned}"


def _members(kind: type[Any]) -> Iterator[str]:
    """Describe what a class adds to its bases: fields, properties and methods."""
    if issubclass(kind, msgspec.Struct):
        own = inspect.get_annotations(kind)
        for field in msgspec.structs.fields(kind):
            if field.name in own:
                default = "" if field.default is msgspec.NODEFAULT else f" = {field.default!r}"
                yield f"    {field.name}: {own[field.name]}{default}"
    elif typing.is_typeddict(kind):
        for name, annotation in inspect.get_annotations(kind).items():
            needed = " (required)" if name in kind.__required_keys__ else ""
            yield f"    {name}: {annotation.__forward_arg__}{needed}"
    elif "__init__" in vars(kind):
        yield f"    {_signature('__init__', vars(kind)['__init__'])}"
    for name, value in sorted(vars(kind).items()):
        if name.startswith("_"):
            continue
        if isinstance(value, property):
            yield f"    {_signature(name, value.fget)}  [property]"
        elif isinstance(value, classmethod):
            yield f"    {_signature(name, value.__func__)}  [classmethod]"
        elif isinstance(value, (sends, pages)):
            yield f"    {_signature(name, value.question)}"
        elif inspect.isfunction(value):
            yield f"    {_signature(name, value)}"


def _described(name: str, value: Any) -> Iterator[str]:
    if inspect.isclass(value):
        bases = ", ".join(base.__name__ for base in value.__bases__)
        yield f"class {name}({bases})"
        yield from _members(value)
    elif inspect.isfunction(value):
        yield _signature(name, value)
    elif name == "__version__":
        yield "__version__"
    else:
        yield f"{name} = {value!r}"


def describe() -> str:
    """Describe all that is exported, module by module; what a module only hands on is named."""
    lines = ["# What castledger exports; `python -m sdk.tests.public_api --write` renews this."]
    for module_name in _modules():
        module = importlib.import_module(module_name)
        lines += ["", f"[{module_name}]"]
        for name in sorted(module.__all__):
            value = getattr(module, name)
            home = getattr(value, "__module__", module_name)
            if home.startswith("castledger.") and home != module_name and home in _modules():
                lines.append(f"{name} from {home}")
            else:
                lines += _described(name, value)
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    if "--write" in sys.argv:
        SNAPSHOT.write_text(describe(), "utf-8")
    elif SNAPSHOT.read_text("utf-8") != describe():
        sys.exit(f"{SNAPSHOT.name} is out of date: python -m sdk.tests.public_api --write")
