"""The pages about the SDK: their examples are run as they stand."""

from __future__ import annotations

import asyncio
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.test import override_settings

from castledger.integrations import Capture
from sdk.tests.integrations import django_shop  # noqa: F401 - gives Django its settings
from tests.docs.generate import SDK_REFERENCE
from tests.docs.sdk_reference import public_modules, write_reference

ROOT = Path(__file__).parents[2]
INTEGRATIONS = (ROOT / "docs" / "sdk-integrations.md").read_text()
TESTING = (ROOT / "docs" / "sdk-testing.md").read_text()


def examples(page: str) -> list[str]:
    """Give a page's examples in Python."""
    return re.findall(r"```python\n(.*?)```", page, re.DOTALL)


def test_the_examples_of_each_framework_install_the_middleware(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASTLEDGER_API_KEY", "cl_live_" + "a" * 38)
    first, in_django, *others = examples(INTEGRATIONS)
    exec(first, {})
    settings: dict[str, Any] = {}
    exec(in_django, settings)
    with override_settings(
        MIDDLEWARE=settings["MIDDLEWARE"], CASTLEDGER_ATTRIBUTION=settings["CASTLEDGER_ATTRIBUTION"]
    ):
        transports: list[Any] = [httpx.WSGITransport(WSGIHandler())]
    assert len(others) == 3
    for example in others:
        # Litestar looks its views' module up by name.
        shop: Any = ModuleType("shop")
        monkeypatch.setitem(sys.modules, "shop", shop)
        exec(example, vars(shop))
        transports.append(httpx.WSGITransport(shop.app) if "flask" in example else httpx.ASGITransport(shop.app))
    for transport in transports:
        assert "cl_attribution=" in ask(transport).headers["set-cookie"]


def ask(transport: Any) -> httpx.Response:
    """Ask a shop for the page to which a link leads."""
    request = httpx.Request("GET", "https://shop.example.com/?promo=SAVE20")
    if isinstance(transport, httpx.BaseTransport):
        return transport.handle_request(request)
    answer: httpx.Response = asyncio.run(transport.handle_async_request(request))
    return answer


def test_the_table_of_options_gives_those_that_there_are_and_their_defaults() -> None:
    listed = re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", INTEGRATIONS, re.MULTILINE)
    parameters = inspect.signature(Capture).parameters.values()
    assert [name for name, _ in listed] == [parameter.name for parameter in parameters]
    for (_, default), parameter in zip(listed, parameters, strict=True):
        given = parameter.default
        assert eval(default) == (list(given) if isinstance(given, tuple) else given)


@pytest.mark.parametrize("number", range(len(examples(TESTING))))
def test_the_examples_about_testing_do_what_they_assert(number: int) -> None:
    exec(examples(TESTING)[number], {"__name__": "example"})


def test_the_reference_is_generated_and_has_every_public_name() -> None:
    page = write_reference()
    assert SDK_REFERENCE.read_text() == page
    _, *sections = re.split(r"^## (.*)$", page, flags=re.MULTILINE)
    found = dict(zip(sections[::2], sections[1::2], strict=True))
    assert set(found) == {module.__name__ for module in public_modules()}
    for module in public_modules():
        headings = re.findall(r"^### (.*)$", found[module.__name__], re.MULTILINE)
        assert set(headings) == set(module.__all__) - {"__version__"}


def test_the_reference_says_something_of_every_name_and_leaves_nothing_of_its_sources_markup() -> None:
    page = SDK_REFERENCE.read_text()
    assert re.findall(r"``(?!`)\w|:\w+:`", page.replace("```", "")) == []
    for heading, what in re.findall(r"^####? (.+)\n\n(?:```python\n(?:.+\n)+```\n\n)?(.*)$", page, re.MULTILINE):
        assert re.match(r"[A-Z*`]", what), heading
