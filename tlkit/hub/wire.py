"""How many messages a protocol buffer holds, counted before it is read: each takes up to sixty times its bytes."""

from __future__ import annotations

from typing import Any

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def holds_more_than(data: bytes, descriptor: Any, most: int) -> bool:
    """Whether more than `most` messages lie in these bytes; damage ends the count, for the reader will name it."""
    view, count = memoryview(data), 0
    waiting = [(0, len(view), descriptor)]
    while waiting:
        place, end, message = waiting.pop()
        inner = {f.number: f.message_type for f in message.fields if f.message_type is not None}
        while place < end:
            tag, place = _varint(view, place, end)
            number, kind = tag >> 3, tag & 7
            if kind == _VARINT:
                _, place = _varint(view, place, end)
            elif kind in (_FIXED64, _FIXED32):
                place += 8 if kind == _FIXED64 else 4
            elif kind == _BYTES:
                length, place = _varint(view, place, end)
                if number in inner and place + length <= end:
                    count += 1
                    if count > most:
                        return True
                    if length:
                        waiting.append((place, place + length, inner[number]))
                place += length
            else:
                break
    return False


def _varint(view: memoryview, place: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while place < end and shift < 70:
        byte = view[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7
    return 0, end
