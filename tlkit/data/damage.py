"""Damage in image files that decoders let through: they give grey, black or garbage without a word."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # in entropy-coded data: FF 00 is a stuffed byte, D0-D7 restarts
_AFTER_SCAN = frozenset((0xC4, 0xCC, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)))
_SOS, _EOI = 0xDA, 0xD9
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_STRETCH = 2**20  # bytes inflated at once


def has_stray_markers(data: bytes) -> bool:
    """Whether a JPEG's entropy-coded data hold a marker that cannot stand there.

    libjpeg decodes such data to grey or garbage and only counts a warning, which Pillow and TensorFlow drop. In
    damaged data each byte FF is followed by a forbidden one in 9 of 10 cases; flipped bits without FF stay unseen.

    Source: ITU-T T.81, B.1.1.2 and B.1.1.5 (markers; byte stuffing).
    """
    position, in_scan = 2, False
    while 0 <= (position := data.find(b"\xff", position)) <= len(data) - 4:
        code = data[position + 1]
        if code == _EOI:
            return False
        if code in (0x00, 0x01, 0xFF) or 0xD0 <= code <= 0xD7:  # these have no length
            position += 1
            continue
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if in_scan and code != _SOS and data[position : position + 1] != b"\xff":
            return True  # a segment between scans that ends at no marker is a piece of damaged data
        if code == _SOS:
            in_scan = True
            marker = _MARKER.search(data, position)
            if marker is None:
                return False  # cut off: the decoder says so itself
            if data[marker.start() + 1] not in _AFTER_SCAN:
                return True
            position = marker.start()
    return False


def lacks_rows(data: bytes) -> bool:
    """Whether a PNG's compressed data, whole and with the right checksums, hold fewer bytes than its rows need.

    Pillow and libpng leave such rows black without a word.

    Source: PNG specification, third edition, sections 7.2 (scanlines), 8.1 (interlacing) and 11.2.3 (IDAT).
    """
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", data[16:29])
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 1)
    passes = _ADAM7 if interlace else ((0, 0, 1, 1),)
    sizes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in passes]
    missing = sum(rows * (1 + -(-columns * bits // 8)) for columns, rows in sizes if columns > 0 and rows > 0)
    inflater = zlib.decompressobj()
    for chunk in _png_data(data):
        compressed = chunk
        while compressed and missing > 0:
            missing -= len(inflater.decompress(compressed, _STRETCH))
            compressed = inflater.unconsumed_tail
    return bool(missing > len(inflater.flush()))


def _png_data(data: bytes) -> Iterator[bytes]:
    position = 8
    while position + 8 <= len(data):
        length, kind = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        if kind == b"IDAT":
            yield data[position + 8 : position + 8 + length]
        position += 12 + length
