"""QR codes, read back by another implementation (ZXing)."""

from __future__ import annotations

import re
import struct
import zlib
from typing import Final

import numpy as np
import numpy.typing as npt
import pytest
import zxingcpp
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics_core.qr_codes import MAX_SIZE, MIN_SIZE, QrFormat, draw_qr_code

Picture = npt.NDArray[np.uint8]

LONGEST: Final = "https://" + "a" * 250 + "/go/" + "b" * 64
urls = st.text("abcdefghijklmnopqrstuvwxyz0123456789-.:/", min_size=1, max_size=322).map("https://".__add__)


def read_png(data: bytes) -> Picture:
    """Read a picture of one bit a pixel, each row as it is or as what differs from the one above."""
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    assert (depth, colour) == (1, 0)
    place, packed = 8, b""
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        if data[place + 4 : place + 8] == b"IDAT":
            packed += data[place + 8 : place + 8 + length]
        place += 12 + length
    rows = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, -1)
    above, read = np.zeros(rows.shape[1] - 1, np.uint8), []
    for row in rows:
        assert row[0] in (0, 2)
        above = row[1:] + above if row[0] else row[1:]
        read.append(above)
    return np.unpackbits(np.array(read), axis=1)[:, :width] * np.uint8(255)


def read_svg(data: bytes) -> Picture:
    """Paint the strokes of a drawing, a pixel a module."""
    text = data.decode()
    box = re.search(r'viewBox="0 0 (\d+) (\d+)"', text)
    assert box is not None
    side = int(box[1])
    assert text.count("<path") == 2
    assert f'fill="#fff" d="M0 0h{side}v{side}h-{side}z"' in text
    drawn = re.search(r'stroke="#000" d="([^"]+)"', text)
    assert drawn is not None
    picture = np.full((side, side), 255, np.uint8)
    x, y = 0, 0.0
    for command, numbers in re.findall(r"([Mmh])([-\d. ]+)", drawn[1]):
        values = [float(number) for number in numbers.split()]
        if command == "h":
            picture[int(y), x : x + int(values[0])] = 0
            x += int(values[0])
        else:
            x, y = (int(values[0]), values[1]) if command == "M" else (x + int(values[0]), y + values[1])
    return picture.repeat(4, axis=0).repeat(4, axis=1)


def decode(picture: Picture) -> tuple[str, str]:
    (found,) = zxingcpp.read_barcodes(picture)
    return found.text, found.ec_level


@settings(max_examples=10, deadline=None)
@given(urls, st.integers(MIN_SIZE, 600))
def test_what_is_drawn_is_read_back_with_error_correction_m(url: str, size: int) -> None:
    assert decode(read_png(draw_qr_code(url, QrFormat.PNG, size=size))) == (url, "M")
    assert decode(read_svg(draw_qr_code(url, QrFormat.SVG, size=size))) == (url, "M")


@pytest.mark.parametrize("size", [MIN_SIZE, 512, MAX_SIZE])
@pytest.mark.parametrize("url", ["https://pod.example.com/go/a", LONGEST])
def test_sizes_are_kept_and_four_modules_around_are_white(url: str, size: int) -> None:
    png = read_png(draw_qr_code(url, QrFormat.PNG, size=size))
    assert png.shape[0] == png.shape[1] <= size
    dark = np.argwhere(png == 0)
    first, last = dark.min(axis=0), dark.max(axis=0)
    # A finder pattern is seven modules wide.
    module = int(np.argmax(png[first[0], first[1] :] == 255)) // 7
    assert (first == 4 * module).all()
    assert (last == png.shape[0] - 1 - 4 * module).all()
    # No larger one would fit.
    assert png.shape[0] // module * (module + 1) > size

    svg = draw_qr_code(url, QrFormat.SVG, size=size)
    assert svg.startswith(f'<svg width="{size}" height="{size}" '.encode())
    assert read_svg(svg).shape[0] // 4 == png.shape[0] // module


def test_the_same_address_is_the_same_picture() -> None:
    for picture in QrFormat:
        drawn = {draw_qr_code(LONGEST, picture, size=300) for _ in range(3)}
        assert len(drawn) == 1
