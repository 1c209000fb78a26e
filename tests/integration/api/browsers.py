"""A browser without a window: it keeps cookies, follows redirects, and sends a page's own forms."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
from litestar import Litestar
from lxml import etree, html

__all__ = ("ORIGIN", "Browser", "Page")

ORIGIN = "http://page.test"


class Page:
    """A page as it came."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.status = answer.status_code
        self.path = answer.url.path
        self.document: Any = html.document_fromstring(answer.text or "<html/>")

    def find(self, xpath: str) -> list[etree._Element]:
        """The elements, or strings, that an XPath names."""
        found: list[etree._Element] = self.document.xpath(xpath)
        return found

    @property
    def title(self) -> str:
        return str(self.document.findtext(".//title"))

    @property
    def text(self) -> str:
        """All text that people see, with blanks folded."""
        return " ".join(" ".join(map(str, self.find("//body//text()"))).split())

    def texts(self, xpath: str) -> list[str]:
        """The folded texts of some elements."""
        return [" ".join("".join(map(str, node.itertext())).split()) for node in self.find(xpath)]

    def links(self, xpath: str = "//main//a") -> list[str]:
        return [str(node.get("href")) for node in self.find(xpath)]

    def fields(self, action: str) -> dict[str, str]:
        """The hidden fields of the form that is sent to an address."""
        hidden = self.find(f"//form[@action='{action}'][1]//input[@type='hidden']")
        assert hidden, f"no form for {action}"
        return {str(node.get("name")): str(node.get("value") or "") for node in hidden}


class Browser:
    """Looks at the page as people do."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, app: Litestar) -> AsyncIterator[Browser]:
        transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]  # Litestar's scopes are narrower dicts
        async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, follow_redirects=True) as http:
            yield cls(http)

    async def get(self, path: str, *, headers: Mapping[str, str] | None = None) -> Page:
        return Page(await self.http.get(path, headers=headers))

    async def send(
        self,
        page: Page,
        action: str,
        fields: Mapping[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        **given: Any,
    ) -> Page:
        """Fill a form of a page in and send it."""
        data = {**page.fields(action), **(fields or {})}
        return Page(await self.http.post(action, data=data, headers={"Origin": ORIGIN, **(headers or {})}, **given))

    async def sign_in(self, key: str) -> Page:
        """Sign in with a key and return where that led."""
        return await self.send(await self.get("/sign-in"), "/sign-in", {"key": key})
