"""What answers of all nouns share."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    import polars as pl

__all__ = ("Instant", "Table", "Tabular")

# Without an offset nobody knows when it was: such an answer is refused while it is read.
Instant: TypeAlias = Annotated[dt.datetime, msgspec.Meta(tz=True)]


class Table(NamedTuple):
    """The rows of a report, for a frame.

    Attributes:
        kind: What each row is.
        tz: In whose clocks instants are shown.
    """

    kind: type[msgspec.Struct]
    rows: Sequence[Any]
    tz: str = "UTC"


class Tabular(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that has rows."""

    def as_table(self) -> Table:
        """Give the rows for a frame."""
        raise NotImplementedError

    def to_polars(self) -> pl.DataFrame:
        """Make a frame of the rows; needs the extra ``polars``, see :mod:`castledger.frames`."""
        from castledger.frames import to_polars

        return to_polars(self)

    def to_pandas(self) -> pd.DataFrame:
        """Make a frame of the rows; needs the extra ``pandas``, see :mod:`castledger.frames`."""
        from castledger.frames import to_pandas

        return to_pandas(self)
