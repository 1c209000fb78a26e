"""How commands find the API and talk to it."""

from __future__ import annotations

import functools
import ssl
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec

from analytics_core.errors import CastledgerError, ConfigError
from castledger_server.data_dir import read_running_up
from castledger_server.processes import is_running

__all__ = ("Api", "ApiRefusal", "find_api")

_Row = TypeVar("_Row")

_PAGE: Final = "200"
_TIMEOUT_S: Final = 60.0
_PATIENCE_S: Final = 120
"""How long a command waits in all where the API says that it is asked too fast."""
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


class ApiRefusal(CastledgerError):
    """The API refused a request, or could not be asked.

    Args:
        message: For people.
        problem: The API's own word for it; empty where there is none.
    """

    code = "api"

    def __init__(self, message: str, *, problem: str = "") -> None:
        self.problem = problem
        super().__init__(message)


@functools.cache
def _tls() -> ssl.SSLContext:
    """Read the authorities that the system believes, once: it takes longer than most requests do."""
    return httpx.create_ssl_context()


class _Fault(msgspec.Struct):
    pointer: str = ""
    message: str = ""


class _Problem(msgspec.Struct):
    title: str = ""
    detail: str = ""
    code: str = ""
    request_id: str = ""
    errors: list[_Fault] = []


class _Page(msgspec.Struct):
    data: list[msgspec.Raw]
    next_cursor: str | None = None


class Api:
    """An API with the key to it.

    Args:
        url: Such as ``http://127.0.0.1:8000``.
        key: The API key.
    """

    def __init__(self, url: str, key: str) -> None:
        self._url = url.rstrip("/")
        self._key = key

    def get(self, path: str, parameters: Mapping[str, str]) -> bytes:
        """Read *path*, below ``/api/v1``.

        Raises:
            ApiRefusal: The API refused, or does not answer.
        """
        return self._ask("GET", path, params=dict(parameters))

    def get_all(self, path: str, row: type[_Row], **parameters: str) -> Iterator[_Row]:
        """Read every row of the list at *path*, below ``/api/v1``, a page at a time.

        Raises:
            ApiRefusal: The API refused, or does not answer.
        """
        asked = {**parameters, "limit": _PAGE}
        while True:
            page = msgspec.json.decode(self.get(path, asked), type=_Page)
            for one in page.data:
                yield msgspec.json.decode(one, type=row)
            if page.next_cursor is None:
                return
            asked["cursor"] = page.next_cursor

    def post(self, path: str, content: bytes, *, media_type: str) -> bytes:
        """Send *content* to *path*, below ``/api/v1``.

        Raises:
            ApiRefusal: The API refused, or does not answer.
        """
        return self._ask("POST", path, content=content, headers={"Content-Type": media_type})

    def delete(self, path: str) -> None:
        """Take away what *path*, below ``/api/v1``, names.

        Raises:
            ApiRefusal: The API refused, or does not answer.
        """
        self._ask("DELETE", path)

    def send(self, method: str, path: str, body: object) -> bytes:
        """Send *body* as JSON to *path*, below ``/api/v1``.

        Raises:
            ApiRefusal: The API refused, or does not answer.
        """
        return self._ask(method, path, content=msgspec.json.encode(body), headers={"Content-Type": "application/json"})

    def _ask(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **request: Any) -> bytes:
        # A proxy of the environment is for the world, not for this machine.
        trust_env = urlsplit(self._url).hostname not in _LOOPBACK
        left_s = _PATIENCE_S
        try:
            with httpx.Client(timeout=_TIMEOUT_S, trust_env=trust_env, verify=_tls()) as client:
                while True:
                    response = client.request(
                        method,
                        f"{self._url}/api/v1{path}",
                        headers={"Authorization": f"Bearer {self._key}", **(headers or {})},
                        **request,
                    )
                    wait_s = _wait_s(response)
                    left_s -= wait_s
                    if not wait_s or left_s < 0:
                        break
                    time.sleep(wait_s)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ApiRefusal(f"the API at {self._url} does not answer ({error})") from error
        if response.is_success:
            return response.content
        raise _refusal(response)


def _wait_s(response: httpx.Response) -> int:
    """Say how long to wait before the same is asked again: 0 unless it was asked for too fast."""
    after = response.headers.get("retry-after", "")
    if response.status_code != 429 or not after.isdigit() or b'"rate_limited"' not in response.content:
        return 0
    return int(after)


def _refusal(response: httpx.Response) -> ApiRefusal:
    try:
        problem = msgspec.json.decode(response.content, type=_Problem)
    except msgspec.MsgspecError:
        return ApiRefusal(f"the API answered {response.status_code}")
    said = [problem.detail or problem.title or f"the API answered {response.status_code}"]
    said += [f"{fault.pointer}: {fault.message}" if fault.pointer else fault.message for fault in problem.errors]
    marks = ", ".join(filter(None, (problem.code, problem.request_id and f"request {problem.request_id}")))
    return ApiRefusal("; ".join(dict.fromkeys(said)) + (f" ({marks})" if marks else ""), problem=problem.code)


def find_api(url: str | None, key: str | None, environ: Mapping[str, str], *, data_dir: Path) -> Api:
    """Choose the API: what is given, else what the environment names, else that of the ``up`` that runs here.

    Args:
        url: Of ``--api-url``.
        key: Of ``--api-key``.
        environ: May hold ``CASTLEDGER_API_URL`` and ``CASTLEDGER_API_KEY``.
        data_dir: Folder of the running ``up``.

    Raises:
        ConfigError: Nothing names an API, or only half of it is named.
    """
    url = url or environ.get("CASTLEDGER_API_URL", "").strip() or None
    key = key or environ.get("CASTLEDGER_API_KEY", "").strip() or None
    if url is not None and key is not None:
        return Api(url, key)
    if url is not None:
        # Never send the key of this machine to an address that somebody typed.
        raise ConfigError([f"a key for {url} is missing: give --api-key or CASTLEDGER_API_KEY"])
    running = read_running_up(data_dir)
    if running is None or not is_running(running.pid):
        raise ConfigError(
            [
                f"no `castledger up` that we may talk to runs on {data_dir}: start it, name its folder with "
                "--data-dir, or name an API with --api-url and --api-key"
            ]
        )
    if not running.answers:
        raise ConfigError([f"`castledger up` on {data_dir} is still starting; try again when it says that it answers"])
    return Api(running.answers["api_url"], key or running.answers["api_key"])
