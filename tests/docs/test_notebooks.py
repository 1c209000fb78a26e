"""The notebooks are run: what they say is what they said when they were committed."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from tests.docs.notebooks import NOTEBOOKS, execute, load, texts

# What arrives at the collector.
EVENTS = {"first_report": [("purchase", "order-77")]}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_says_what_it_says_in_the_documentation(path: Path) -> None:
    committed = load(path)
    nbformat.validate(committed)
    executed, server = execute(path)
    said = list(texts(executed))
    assert said == list(texts(committed))
    assert sum(map(len, said)) > 100
    assert {request.status for request in server.requests} == {200, 202}
    assert [(event.type, event.external_id) for event in server.events] == EVENTS[path.stem]
