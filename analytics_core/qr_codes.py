"""QR codes of web addresses, as pictures.

Error correction M, as what is printed small or shown on a screen needs; four modules of quiet zone, as ISO/IEC 18004
wants it.
"""

from __future__ import annotations

import enum
import io
from typing import Final

import segno

__all__ = ("MAX_SIZE", "MIN_SIZE", "QrFormat", "draw_qr_code")

MIN_SIZE: Final = 128
"""Pixels a side: the longest address that we hand out, of 330 characters, has 85 modules."""
MAX_SIZE: Final = 4096
_QUIET: Final = 4


class QrFormat(enum.StrEnum):
    """How a code is drawn."""

    SVG = "svg"
    PNG = "png"


def draw_qr_code(url: str, picture: QrFormat, *, size: int) -> bytes:
    """Draw an address as a QR code, black on white.

    Args:
        url: Up to 330 ASCII characters.
        picture: SVG, or PNG.
        size: Pixels a side: exactly in an SVG; in a PNG the most, as every module is a whole number of pixels.
    """
    code = segno.make_qr(url, error="m", boost_error=False)
    modules = code.symbol_size(border=_QUIET)[0]
    out = io.BytesIO()
    if picture is QrFormat.PNG:
        code.save(out, kind="png", scale=max(1, size // modules), border=_QUIET)
        return out.getvalue()
    code.save(out, kind="svg", border=_QUIET, light="#fff", omitsize=True, svgclass=None, xmldecl=False, nl=False)
    # In units of modules and stretched: scaled by a fraction, the library leaves a part of the quiet zone transparent.
    stretched = b'<svg width="%d" height="%d" shape-rendering="crispEdges"' % (size, size)
    return out.getvalue().replace(b"<svg", stretched, 1)
