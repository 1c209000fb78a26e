"""Rows for COPY hold the numbers that they were given, or none at all."""

from __future__ import annotations

import numpy as np
import pytest

from analytics_core.db.copying import CopyFormat

FORMAT = CopyFormat("t", schema="s", columns=(("small", "smallint"), ("whole", "integer"), ("large", "bigint")))


def columns(small: int, whole: int, large: int) -> dict[str, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    return {
        name: np.array([0, value], np.int64) for name, value in (("small", small), ("whole", whole), ("large", large))
    }


@pytest.mark.parametrize("row", [(-(2**15), -(2**31), -(2**63)), (2**15 - 1, 2**31 - 1, 2**63 - 1)])
def test_numbers_at_the_ends_are_kept(row: tuple[int, int, int]) -> None:
    rows = FORMAT.encode(columns(*row))
    assert tuple(int(rows[name][1]) for name in ("small", "whole", "large")) == row


@pytest.mark.parametrize("row", [(2**15, 0, 0), (-(2**15) - 1, 0, 0), (0, 2**31, 0), (0, -(2**31) - 1, 0)])
def test_a_number_that_does_not_fit_is_refused_by_name(row: tuple[int, int, int]) -> None:
    name = "small" if row[0] else "whole"
    with pytest.raises(OverflowError, match=rf"t\.{name} is"):
        FORMAT.encode(columns(*row))
