"""The SDK's tests run alone: they import nothing of the server's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from castledger import Podcast
from sdk.tests.asking import Asking, asynchronous, blocking
from sdk.tests.servers import Installation, add_show, serve_installation, serve_twin
from sdk.tests.twin import Asynchronous, Blocking, Caller


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=[Blocking, Asynchronous], ids=["blocking", "asynchronous"])
def caller(request: pytest.FixtureRequest) -> type[Caller]:
    """Each client in turn."""
    kind: type[Caller] = request.param
    return kind


@pytest.fixture(params=[blocking, asynchronous])
def ask(request: pytest.FixtureRequest) -> Asking:
    """A question with each client in turn."""
    asking: Asking = request.param
    return asking


@pytest.fixture
def twin() -> Iterator[str]:
    """The address of the twin behind a real server."""
    yield from serve_twin()


@pytest.fixture(scope="session")
def installation() -> Iterator[Installation]:
    """The real thing, where it is installed beside the SDK."""
    yield from serve_installation()


@pytest.fixture(scope="session")
def show(installation: Installation) -> Podcast:
    """The real thing's podcast, whose one episode was downloaded once."""
    return add_show(installation)
