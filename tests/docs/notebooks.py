"""Run the notebooks of the documentation, with a ledger of samples: `python -m tests.docs.notebooks [--write]`."""

from __future__ import annotations

import datetime as dt
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from castledger.testing import Downloads, Server, make_episode, make_podcast

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))

_DEADLINE_S = 120
# What is written of a kernel differs from machine to machine.
_METADATA = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
# Per cent of an episode's downloads by the day since it appeared, and how apps share them.
_DECAY = (50, 20, 12, 8, 5, 3, 2)
_APPS = {"Apple Podcasts": 5, "Pocket Casts": 3, "AntennaPod": 2}


def sample_server() -> Server:
    """Make the ledger that the notebooks read: two podcasts, and a fortnight of downloads."""
    tides = make_podcast("Tide Tables", episodes=2)
    talk = make_podcast("Castle Talk", episodes=1)
    first, second, pilot = (
        make_episode(podcast, title, published_at=dt.datetime(2026, 11, day, 5, tzinfo=dt.UTC))
        for podcast, title, day in ((tides, "What the moon does", 1), (tides, "Neap and spring", 8), (talk, "Pilot", 4))
    )
    downloads = [
        Downloads(
            podcast_id=episode.podcast_id,
            episode_id=episode.episode_id,
            at=dt.datetime(2026, 11, first_day + number, 7, tzinfo=dt.UTC),
            app=app,
            count=total * percent // 100 * share // 10,
        )
        for episode, first_day, total in ((first, 1, 1_000), (second, 8, 1_400), (pilot, 4, 300))
        for number, percent in enumerate(_DECAY)
        for app, share in _APPS.items()
    ]
    return Server(podcasts=[tides, talk], episodes=[second, first, pilot], downloads=downloads)


def load(path: Path) -> Any:
    """Read a notebook."""
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


def execute(path: Path) -> tuple[Any, Server]:
    """Run a notebook in a kernel of its own.

    Returns:
        It with its outputs, and the server that it talked to.
    """
    notebook = load(path)
    server = sample_server()
    with server.listen() as url:
        environ = {
            **os.environ,
            "CASTLEDGER_API_KEY": server.api_key,
            "CASTLEDGER_API_URL": url,
            "CASTLEDGER_COLLECTOR_URL": url,
        }
        NotebookClient(notebook, timeout=_DEADLINE_S, kernel_name="python3", record_timing=False).execute(env=environ)
    notebook.metadata = nbformat.from_dict(_METADATA)  # type: ignore[no-untyped-call]
    return notebook, server


def texts(notebook: Any) -> Iterator[str]:
    """Give what the cells say, cell by cell."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            yield "".join(
                output.text if output.output_type == "stream" else output.get("data", {}).get("text/plain", "")
                for output in cell.outputs
            )


def main(argv: Sequence[str]) -> int:
    """Write the notebooks with `--write`, else tell whether they say what they would say now."""
    is_stale = False
    for path in NOTEBOOKS:
        notebook, _ = execute(path)
        if "--write" in argv:
            nbformat.write(notebook, path)  # type: ignore[no-untyped-call]
        elif list(texts(notebook)) != list(texts(load(path))):
            sys.stderr.write(f"{path.name} is out of date: run `python -m tests.docs.notebooks --write`\n")
            is_stale = True
    return int(is_stale)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
