"""The length of an MP3 file by its frames: libsndfile believes an estimate where the header does not say it.

Source: ISO/IEC 11172-3 and 13818-3, section 2.4.2.3 (frame header), and ID3v2.4, section 3.1.
"""

from __future__ import annotations

_KBPS = {  # layer III, by bitrate index; the first for MPEG-1, the second for MPEG-2 and 2.5
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
}
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # Hz, by version bits


def samples(data: bytes) -> int:
    """Samples in the frames from the start of a file on, up to whatever is no frame.

    Example:
        >>> samples(b"\\xff\\xfb\\x90\\x00" + bytes(413))  # MPEG-1, 128 kbit/s, 44,100 Hz: 417 bytes
        1152
    """
    place, total = _behind_id3(data), 0
    while (frame := _frame(data[place : place + 4])) is not None:
        length, count = frame
        place += length
        total += count
    return total


def _frame(header: bytes) -> tuple[int, int] | None:
    """(bytes, samples) of the layer III frame that a header begins, or None."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return None
    version, index, rate = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or rate == 3 or index in (0, 15):
        return None
    count = 1152 if version == 3 else 576
    length = count // 8 * _KBPS[version == 3][index] * 1000 // _RATES[version][rate]
    return length + (header[2] >> 1 & 1), count


def _behind_id3(data: bytes) -> int:
    if data[:3] != b"ID3" or len(data) < 10:
        return 0
    size = 0
    for byte in data[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size
