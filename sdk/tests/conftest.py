"""The SDK's tests run alone: they import nothing of the server's."""

from __future__ import annotations

import pytest

from sdk.tests.twin import Asynchronous, Blocking, Caller


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=[Blocking, Asynchronous], ids=["blocking", "asynchronous"])
def caller(request: pytest.FixtureRequest) -> type[Caller]:
    """Each client in turn."""
    kind: type[Caller] = request.param
    return kind
