"""PostgreSQL's binary COPY from columns: fixed-width rows built by numpy, without a Python object a value.

A row in that format is a field count and, before each field, its length. With fixed widths and no nulls every row
has the same shape, so that a table's rows are one big-endian structured array.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final, LiteralString, TypeAlias

import numpy as np
import numpy.typing as npt

from analytics_core.db.pool import Connection

__all__ = ("EPOCH_DAYS", "EPOCH_US", "CopyFormat", "Keys", "pack_keys", "unpack_key")

Keys: TypeAlias = npt.NDArray[np.uint64]
"""Sixteen-byte keys as two columns, the higher half first, so that they sort as PostgreSQL sorts uuids."""

EPOCH_DAYS: Final = 10_957
"""Days from 1970-01-01 to 2000-01-01, from which PostgreSQL counts."""
EPOCH_US: Final = EPOCH_DAYS * 86_400_000_000

_HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + struct.pack(">ii", 0, 0)
_TRAILER: Final = struct.pack(">h", -1)
_CHUNK_BYTES: Final = 1024 * 1024
_READ_ROWS: Final = 16_384
_ENCODED_ROWS: Final = 1024

_TYPES: Final[Mapping[str, tuple[str, tuple[int, ...], int]]] = {
    "smallint": (">i2", (), 2),
    "integer": (">i4", (), 4),
    "bigint": (">i8", (), 8),
    "date": (">i4", (), 4),
    "timestamptz": (">i8", (), 8),
    "uuid": (">u8", (2,), 16),
}
_LIMITS: Final[Mapping[str, tuple[int, int]]] = {"smallint": (-(2**15), 2**15 - 1), "integer": (-(2**31), 2**31 - 1)}
_ORIGINS: Final[Mapping[str, int]] = {"date": EPOCH_DAYS, "timestamptz": EPOCH_US}


def pack_keys(keys: Sequence[bytes]) -> Keys:
    """Lay keys of 16 bytes out as two columns of numbers."""
    return np.frombuffer(b"".join(keys), ">u8").reshape(-1, 2).astype(np.uint64)


def unpack_key(key: npt.NDArray[np.uint64]) -> bytes:
    """Read one key of :func:`pack_keys` back.

    >>> unpack_key(pack_keys([bytes(range(16))])[0]).hex()
    '000102030405060708090a0b0c0d0e0f'
    """
    return key.astype(">u8").tobytes()


class CopyFormat:
    """How the rows of one table look on the wire.

    Args:
        table: The table's name.
        schema: Its schema.
        columns: Name and PostgreSQL type of each column that is written, in order: ``smallint``, ``integer``,
            ``bigint``, ``date`` (given as days since 1970), ``timestamptz`` (as microseconds since 1970) or
            ``uuid`` (as :data:`Keys`).
    """

    def __init__(self, table: str, *, schema: str, columns: Sequence[tuple[str, str]]) -> None:
        self.table = table
        self.schema = schema
        self.columns = tuple(columns)
        names, formats, offsets, at = ["count"], [">i2"], [0], 2
        for name, kind in self.columns:
            code, shape, size = _TYPES[kind]
            names += [f"{name} length", name]
            formats += [">i4", f"{shape[0]}{code}" if shape else code]
            offsets += [at, at + 4]
            at += 4 + size
        self.dtype = np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": at})
        blank: npt.NDArray[Any] = np.zeros(1, self.dtype)
        blank["count"] = len(self.columns)
        for name, kind in self.columns:
            blank[f"{name} length"] = _TYPES[kind][2]
        self._blank = blank.view(np.uint8)

    def encode(self, columns: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """Write columns as rows.

        Args:
            columns: An array for each column of the format, all of one length; others are left out.

        Returns:
            A structured array whose bytes are the rows, header and trailer excepted.

        Raises:
            OverflowError: A number does not fit into its column: numpy alone would store another one.
        """
        rows = np.empty(len(columns[self.columns[0][0]]), self.dtype)
        for name, kind in self.columns:
            column = columns[name]
            if kind in _LIMITS and len(column):
                least, most = _LIMITS[kind]
                if column.min() < least or column.max() > most:
                    raise OverflowError(f"{self.table}.{name} is a {kind}: not every number fits")
        flat = rows.view(np.uint8).reshape(len(rows), self.dtype.itemsize)
        # Some rows at a time stay in the processor's cache until all of their columns are there.
        for start in range(0, len(rows), _ENCODED_ROWS):
            end = start + _ENCODED_ROWS
            flat[start:end] = self._blank
            part = rows[start:end]
            for name, kind in self.columns:
                column = columns[name][start:end]
                part[name] = column - _ORIGINS[kind] if kind in _ORIGINS else column
        return rows

    async def copy(
        self, conn: Connection, columns: Mapping[str, npt.NDArray[Any]], *, partition: str | None = None
    ) -> None:
        """Write columns into the table, inside whatever transaction there is."""
        await self.send(conn, self.encode(columns), partition=partition)

    async def send(self, conn: Connection, rows: npt.NDArray[Any], *, partition: str | None = None) -> None:
        """Write what :meth:`encode` has made into the table, inside whatever transaction there is.

        Args:
            conn: Any.
            rows: Of this format.
            partition: The name of the table's partition that all of them belong to: PostgreSQL refuses others.
        """
        if not len(rows):
            return
        await conn.copy_to_table(
            partition or self.table,
            schema_name=self.schema,
            columns=[name for name, _ in self.columns],
            source=_stream(rows),
            format="binary",
        )

    async def read(
        self,
        conn: Connection,
        query: LiteralString,
        *arguments: object,
        take: Callable[[Mapping[str, npt.NDArray[Any]]], None],
    ) -> int:
        """Read what a query returns by column, a piece at a time, in bounded memory.

        Args:
            conn: Any.
            query: Returns the format's columns in their order, none of them null.
            arguments: Of the query.
            take: Called with columns as :meth:`encode` takes them.

        Returns:
            The number of rows.
        """
        left = bytearray()
        is_begun = False
        count = 0

        def take_rows() -> None:
            nonlocal count, left
            if rows := len(left) // self.dtype.itemsize:
                data, left = left, left[rows * self.dtype.itemsize :]
                take(self._decode(data, rows))
                count += rows

        async def receive(data: bytes) -> None:
            nonlocal is_begun
            left.extend(data)
            if not is_begun and len(left) >= len(_HEADER):
                del left[: len(_HEADER)]
                is_begun = True
            # What the driver hands over at once is too little for columns to be worth their while.
            if len(left) >= _READ_ROWS * self.dtype.itemsize:
                take_rows()

        await conn.copy_from_query(query, *arguments, output=receive, format="binary")
        take_rows()
        if left != _TRAILER:
            raise AssertionError("a COPY of fixed widths ends with its trailer")
        return count

    def _decode(self, data: bytearray, count: int) -> dict[str, npt.NDArray[Any]]:
        rows = np.frombuffer(data, self.dtype, count)
        columns: dict[str, npt.NDArray[Any]] = {}
        for name, kind in self.columns:
            match kind:
                case "uuid":
                    columns[name] = rows[name].astype(np.uint64)
                case "timestamptz":
                    columns[name] = rows[name].astype(np.int64) + EPOCH_US
                case "date":
                    columns[name] = rows[name].astype(np.int64) + EPOCH_DAYS
                case _:
                    columns[name] = rows[name].astype(np.int64)
        return columns


async def _stream(rows: npt.NDArray[Any]) -> AsyncIterator[bytes]:
    """Send rows piece by piece: the driver copies what it is given into its buffer."""
    yield _HEADER
    flat = rows.view(np.uint8)
    for at in range(0, len(flat), _CHUNK_BYTES):
        yield flat[at : at + _CHUNK_BYTES].tobytes()
    yield _TRAILER
