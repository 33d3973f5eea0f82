"""Every kind of image file that people have, against Pillow and NumPy; and everything that is none."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zlib
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from tlkit.core.errors import InputError
from tlkit.data import damage, pixels
from tlkit.data.image_source import check_file

WHITE = (255, 255, 255)
RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)
SMOOTH = np.stack(np.meshgrid(np.arange(60) * 4, np.arange(40) * 6), -1).astype(np.uint8)
SMOOTH = np.concatenate([SMOOTH, 255 - SMOOTH[..., :1]], -1)


def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def decoded(data: bytes, background: tuple[int, int, int] = WHITE) -> np.ndarray:
    pixels.verify(data, background)
    return np.asarray(pixels.decode(data, background))


def png(width: int, height: int, depth: int, colour: int, rows: Iterable[bytes]) -> bytes:
    """A PNG by hand, for depths and sizes that Pillow does not write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    packer = zlib.compressobj(1)
    body = b"".join([*(packer.compress(b"\0" + row) for row in rows), packer.flush()])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("format_", "options"), [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("WEBP", {"lossless": True})])
def test_lossless_formats_give_their_pixels(format_, options):
    np.testing.assert_array_equal(decoded(encoded(Image.fromarray(NOISE), format_, **options)), NOISE)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}, {"restart_marker_blocks": 2}])
@pytest.mark.parametrize("picture", [NOISE, SMOOTH])
def test_sound_jpegs_pass(picture, options):
    data = encoded(Image.fromarray(picture), "JPEG", quality=95, **options)
    np.testing.assert_array_equal(decoded(data), np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "YCbCr"])
def test_other_modes_become_rgb(mode):
    image = Image.fromarray(SMOOTH).convert(mode)
    format_ = "JPEG" if mode in ("CMYK", "YCbCr") else "PNG"
    data = encoded(image, format_)
    np.testing.assert_array_equal(decoded(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
    if mode == "CMYK":  # inverted, as Adobe writes it: near the original, not its negative
        assert np.abs(decoded(data).astype(int) - SMOOTH).mean() < 12


def test_alpha_is_composited_on_the_background():
    alpha = np.full((40, 60, 1), 64, np.uint8)
    rgba = Image.fromarray(np.concatenate([NOISE, alpha], -1))
    expected = (NOISE * 64.0 + np.array((0, 128, 255)) * 191.0) / 255
    np.testing.assert_allclose(decoded(encoded(rgba, "PNG"), (0, 128, 255)), expected, atol=1)
    np.testing.assert_allclose(decoded(encoded(rgba, "WEBP", lossless=True), (0, 128, 255)), expected, atol=1)


def test_a_transparent_palette_entry_shows_the_background():
    image = Image.new("P", (4, 4), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 1), 1)
    for format_ in ("PNG", "GIF"):
        out = decoded(encoded(image, format_, transparency=0), (9, 8, 7))
        assert out[0, 0].tolist() == [9, 8, 7]
        assert out[1, 1].tolist() == [0, 255, 0]


def test_grey_with_a_transparent_value_and_grey_with_alpha():
    grey = Image.new("L", (4, 4), 10)
    assert decoded(encoded(grey, "PNG", transparency=10), (9, 8, 7))[0, 0].tolist() == [9, 8, 7]
    both = Image.new("LA", (4, 4), (10, 0))
    assert decoded(encoded(both, "PNG"), (9, 8, 7))[0, 0].tolist() == [9, 8, 7]


def test_16_bits_are_scaled_and_not_clipped():
    values = np.array([[0, 255, 256, 32768, 65279, 65535]], dtype=">u2")
    expected = np.repeat((values >> 8).astype(np.uint8)[..., None], 3, -1)
    np.testing.assert_array_equal(decoded(png(6, 1, 16, 0, [values.tobytes()])), expected)
    colour = np.repeat(values[..., None], 3, -1)
    np.testing.assert_array_equal(decoded(png(6, 1, 16, 2, [colour.tobytes()])), expected)
    tiff = encoded(Image.fromarray(values.astype(np.uint16)), "TIFF")
    np.testing.assert_array_equal(decoded(tiff), expected)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bits_are_refused_with_a_reason(mode):
    with pytest.raises(InputError, match="32 bits, whose range is unknown"):
        decoded(encoded(Image.new(mode, (4, 4)), "TIFF"))


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for format_ in ("GIF", "WEBP", "PNG", "TIFF"):
        options = {"lossless": True} if format_ == "WEBP" else {}
        data = encoded(frames[0], format_, save_all=True, append_images=frames[1:], **options)
        assert decoded(data).shape == (8, 8, 3)
        assert decoded(data)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_the_cameras_rotation_is_applied(orientation, format_):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(SMOOTH), format_, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    np.testing.assert_array_equal(decoded(data), expected)
    assert decoded(data).shape == ((60, 40, 3) if orientation >= 5 else (40, 60, 3))


def test_broken_exif_does_not_cost_the_picture():
    data = encoded(Image.fromarray(SMOOTH), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert decoded(data).shape == (40, 60, 3)


def test_resizing_stretches_bilinearly_with_antialiasing():
    small = pixels.resize(Image.fromarray(NOISE), (10, 20))
    np.testing.assert_array_equal(
        np.asarray(small), np.asarray(Image.fromarray(NOISE).resize((20, 10), Image.BILINEAR))
    )
    stripes = np.tile(np.array([0, 255], np.uint8)[None, :, None], (8, 32, 3))
    assert 120 < np.asarray(pixels.resize(Image.fromarray(stripes), (8, 8))).mean() < 135  # without: 0 or 255


JPEG = encoded(Image.fromarray(NOISE), "JPEG", quality=90)
BODY = JPEG.index(b"\xff\xda") + 14
GARBAGE = JPEG[:BODY] + RNG.integers(0, 256, len(JPEG) - BODY - 2, dtype=np.uint8).tobytes() + b"\xff\xd9"
PNG = encoded(Image.fromarray(NOISE), "PNG")
BAD = {
    "empty": (b"", "empty: it has 0 bytes"),
    "truncated JPEG": (JPEG[: len(JPEG) // 2], "truncated: "),
    "JPEG header alone": (JPEG[:BODY], "truncated: "),
    "JPEG with a garbage body": (GARBAGE, "damaged: its compressed data hold markers"),
    "truncated PNG": (PNG[: len(PNG) // 2], "truncated: "),
    "PNG with a flipped bit": (PNG[:100] + bytes([PNG[100] ^ 1]) + PNG[101:], "damaged: "),
    "HTML": (b"\n<!DOCTYPE html><html><body>404</body></html>", "it holds HTML, not an image"),
    "text": (b"just a text", "its content is no image that can be read"),
    "SVG": (b'<?xml version="1.0"?><svg xmlns="x"></svg>', "it holds SVG"),
    "HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "it holds HEIC, which cannot be read here"),
    "cut header": (PNG[:12], "damaged: it begins like an image"),
    "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "its content is no image"),
    "12000 x 12000": (
        png(12000, 12000, 8, 2, [bytes(36000)] * 9),
        "oversized: 12000 x 12000 pixels, and max_pixels is 64,000,000",
    ),
    "30000 x 30000": (png(30000, 30000, 8, 2, []), "oversized: so many pixels that Pillow refuses it"),
}


@pytest.mark.parametrize("kind", list(BAD))
def test_a_bad_file_is_refused_with_its_reason(kind, tmp_path):
    data, reason = BAD[kind]
    path = tmp_path / "picture.jpg"
    path.write_bytes(data)
    checked = check_file(path, WHITE, pixels.MAX_PIXELS)
    assert checked.reason.startswith(reason)
    assert not checked.ignored
    assert "\n" not in checked.reason


def test_what_is_no_file_is_refused_with_its_reason(tmp_path):
    (tmp_path / "link.jpg").symlink_to(tmp_path / "nowhere.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    reasons = [check_file(tmp_path / name, WHITE, 10**6).reason for name in ("link.jpg", "pipe.jpg")]
    assert reasons == ["a link to a file that is not there", "no regular file"]


@settings(max_examples=150, deadline=None)
@given(
    data=st.binary(max_size=200),
    head=st.sampled_from([b"", JPEG[:BODY], PNG[:33], b"GIF89a", b"II*\0", b"RIFF\0\0\0\0WEBP"]),
)
def test_no_bytes_make_the_check_raise(data, head, tmp_path_factory):
    path = tmp_path_factory.mktemp("bytes") / "x.png"
    path.write_bytes(head + data)
    checked = check_file(path, WHITE, 10**6)
    assert bool(checked.reason) != bool(checked.digest)


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(1, len(JPEG) - 3))
def test_no_cut_jpeg_passes(cut, tmp_path_factory):
    path = tmp_path_factory.mktemp("cut") / "x.jpg"
    path.write_bytes(JPEG[:cut])
    assert check_file(path, WHITE, 10**6).reason


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4, 5), np.uint8), r"must have the shape"),
        (np.zeros((4,), np.uint8), r"must have the shape"),
        (np.zeros((0, 4, 3), np.uint8), r"must have the shape"),
        (np.full((4, 4), "a"), "must hold numbers"),
        (np.full((4, 4), 256), "must lie in 0 to 255, not in 256 to 256"),
        (np.full((4, 4), -1.0), "must lie in 0 to 255"),
        (np.full((4, 4), np.nan), "must lie in 0 to 255"),
    ],
)
def test_arrays_that_are_no_images_are_refused(array, message):
    with pytest.raises(InputError, match=message):
        pixels.as_uint8(array)


def test_arrays_of_all_layouts_become_rgb():
    grey = NOISE[..., 0]
    for array in (grey, grey[..., None]):
        np.testing.assert_array_equal(np.asarray(pixels.from_array(array, WHITE)), np.repeat(grey[..., None], 3, -1))
    np.testing.assert_array_equal(np.asarray(pixels.from_array(NOISE, WHITE)), NOISE)
    clear = np.concatenate([NOISE, np.zeros((40, 60, 1), np.uint8)], -1)
    assert np.asarray(pixels.from_array(clear, (1, 2, 3)))[0, 0].tolist() == [1, 2, 3]
    np.testing.assert_array_equal(pixels.as_uint8(np.array([[0.4, 254.6]])), [[0, 255]])


# More than 8 bits

TWELVE = np.array([[0, 16, 1000, 4095]], dtype=np.uint16)
TWELVE_AS_8 = np.rint(TWELVE * 255.0 / 4095).astype(np.uint8)


def deep_files():
    """The same numbers as grey PNG, grey TIFF, coloured PNG and floats."""
    grey = Image.fromarray(TWELVE)
    colour = np.repeat(TWELVE[..., None], 3, -1).astype(">u2")
    return {
        "png": encoded(grey, "PNG"),
        "tiff": encoded(grey, "TIFF"),
        "colour": png(4, 1, 16, 2, [colour.tobytes()]),
        "pgm": encoded(Image.fromarray(TWELVE), "PPM"),
        "ppm": b"P6\n# a comment\n4 1\n65535\n" + colour.tobytes(),
        "jpeg 2000": encoded(Image.fromarray(TWELVE), "JPEG2000", irreversible=False),
        "int32": encoded(Image.fromarray(TWELVE.astype(np.int32)), "TIFF"),
        "float": encoded(Image.fromarray(TWELVE.astype(np.float32)), "TIFF"),
    }


@pytest.mark.parametrize("kind", ["png", "tiff", "colour", "pgm", "ppm", "jpeg 2000", "int32", "float"])
def test_the_value_that_is_white_can_be_said(kind):
    out = np.asarray(pixels.decode(deep_files()[kind], (255, 255, 255), 4095))
    np.testing.assert_array_equal(out, np.repeat(TWELVE_AS_8[..., None], 3, -1))


def test_a_coloured_picture_keeps_its_opacity_at_16_bits():
    values = np.array([[[4095, 0, 0, 0], [0, 4095, 0, 65535]]], ">u2")
    out = np.asarray(pixels.decode(png(2, 1, 16, 6, [values.tobytes()]), (9, 8, 7), 4095))
    assert out.tolist() == [[[9, 8, 7], [0, 255, 0]]]


def test_what_is_above_white_is_white_and_8_bits_stay_as_they_are():
    assert np.asarray(pixels.decode(deep_files()["png"], (0, 0, 0), 1000))[0, 2:].tolist() == [[255] * 3] * 2
    data = encoded(Image.fromarray(SMOOTH), "PNG")
    np.testing.assert_array_equal(np.asarray(pixels.decode(data, (0, 0, 0), 4095)), SMOOTH)
    mask = encoded(Image.fromarray(np.array([[0, 1]], np.uint8)), "PNG")
    assert np.asarray(pixels.decode(mask, (0, 0, 0), 1))[0].tolist() == [[0] * 3, [255] * 3]


def test_negative_and_infinite_values_are_named():
    for value in (-1.0, float("nan")):
        data = encoded(Image.fromarray(np.array([[value, 1.0]], np.float32)), "TIFF")
        with pytest.raises(InputError, match="its values must lie in 0 to 1, not in"):
            pixels.decode(data, (0, 0, 0), 1.0)


@pytest.mark.parametrize("kind", ["png", "tiff", "colour", "pgm", "ppm", "jpeg 2000"])
def test_the_bits_that_are_used_are_counted(kind):
    depth = pixels.verify(deep_files()[kind], (0, 0, 0))
    assert depth.bits == 16 and depth.peak == 4095


def grey_tiff(bits, photometric, content, width):
    """A grey TIFF of one row; `photometric` 0 is WhiteIsZero."""
    tags = {256: width, 257: 1, 258: bits, 259: 1, 262: photometric, 273: 122, 277: 1, 278: 1, 279: len(content)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + content


def test_a_tiff_of_12_bits_keeps_its_levels():
    packed = bytes.fromhex("000010") + bytes.fromhex("3e8fff")  # 0, 16, 1000 and 4095
    data = grey_tiff(12, 1, packed, 4)
    depth = pixels.verify(data, (0, 0, 0))
    white, note = pixels.whitest([depth])
    assert (depth.bits, depth.peak, white) == (16, 4095, 4095)
    assert "read as 12 bits" in note
    np.testing.assert_array_equal(np.asarray(pixels.decode(data, (0, 0, 0), white))[..., 0], TWELVE_AS_8)


@pytest.mark.parametrize("white", [None, 65535])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_whose_white_is_zero_is_turned_round(bits, white):
    values = np.array([0, 100, 255], np.uint8)
    content = values.tobytes() if bits == 8 else (values.astype("<u2") * 257).tobytes()
    out = pixels.decode(grey_tiff(bits, 0, content, 3), (0, 0, 0), white)
    assert np.asarray(out)[0, :, 0].tolist() == [255, 155, 0]


def test_12_bits_whose_white_is_zero_are_turned_round():
    data = grey_tiff(16, 0, TWELVE.astype("<u2").tobytes(), 4)
    np.testing.assert_array_equal(np.asarray(pixels.decode(data, (0, 0, 0), 4095))[..., 0], 255 - TWELVE_AS_8)


@pytest.mark.parametrize(
    ("depth", "white", "note"),
    [
        (pixels.Depth(16, 4095, 4000), None, "no pixel is above 4,095, and 65,535 is white"),
        (pixels.Depth(16, 60000, 50000), 4095.0, "pixels go up to 60,000, and from 4,095 on all is white"),
        (pixels.Depth(8, 1, 1), None, "no pixel is above 1, and 255 is white"),
        (pixels.Depth(16, 4095, 4000), 4095.0, ""),
        (pixels.Depth(8, 200, 200), 4095.0, ""),
        (pixels.Depth(8, 255, 255), None, ""),
    ],
)
def test_a_range_unlike_that_of_training_is_noted(depth, white, note):
    assert note in pixels.brightness_note(depth, white)
    assert bool(note) == bool(pixels.brightness_note(depth, white))


def test_a_file_that_says_what_is_white_is_believed():
    data = b"P5 4 1 4095\n" + TWELVE.astype(">u2").tobytes()
    assert pixels.verify(data, (0, 0, 0)).bits == 8
    np.testing.assert_allclose(np.asarray(pixels.decode(data, (0, 0, 0)))[..., 0], TWELVE_AS_8, atol=1)


@pytest.mark.parametrize(
    ("peaks", "white"),
    [((90,), 255), ((90, 1000), 1023), ((3000, 4095), 4095), ((4096,), 16383), ((200, 16384), None), ((), None)],
)
def test_white_is_one_value_for_all_pictures(peaks, white):
    deep = [pixels.Depth(16, peak, peak) for peak in peaks]
    whitest, note = pixels.whitest([pixels.Depth(8, 255, 255), *deep])
    assert whitest == white
    assert ("pixel_max=65535" in note) == (white is not None)


def test_bright_specks_on_dark_pictures_and_dark_masks_are_noted():
    assert "pixel_max=4095" in pixels.whitest([pixels.Depth(16, 65535, 3000)])[1]
    assert "pixel_max=1." in pixels.whitest([pixels.Depth(8, 1, 1)])[1]
    assert pixels.whitest([pixels.Depth(8, 200, 200)]) == (None, "")


def test_arrays_of_more_than_8_bits():
    np.testing.assert_array_equal(pixels.as_uint8(TWELVE, 4095), TWELVE_AS_8)
    np.testing.assert_array_equal(pixels.as_uint8(np.array([[0.0, 0.5, 1.0]]), 1.0), [[0, 128, 255]])
    np.testing.assert_array_equal(pixels.as_uint8(np.array([[True, False]])), [[255, 0]])
    with pytest.raises(InputError, match="not in 0 to 4095; say which is white: pixel_max=4095, if these are 12 bits"):
        pixels.as_uint8(TWELVE)


@pytest.mark.parametrize("value", [0, -1, float("nan"), "12", True])
def test_pixel_max_must_be_above_0(value):
    with pytest.raises(InputError, match="`pixel_max` must be the value that is white"):
        pixels.checked_white(value)


@pytest.mark.parametrize(("depth", "colour"), [(8, 2), (8, 0), (1, 0), (16, 2), (8, 6)])
def test_a_png_whose_data_end_before_its_last_row_is_damaged(depth, colour):
    width_bytes = -(-9 * depth * {0: 1, 2: 3, 6: 4}[colour] // 8)
    whole = png(9, 9, depth, colour, [bytes(width_bytes)] * 9)
    assert not damage.lacks_rows(whole)
    with pytest.raises(InputError, match="before its last row"):
        pixels.verify(png(9, 9, depth, colour, [bytes(width_bytes)] * 8), WHITE)


def test_an_interlaced_png_is_whole():
    """Pillow reads Adam7 and does not write it: 1 x 1 has one pass, 5 x 5 all seven."""
    for size, passes in ((1, [(1, 1)]), (5, [(1, 1), (1, 1), (2, 1), (1, 2), (3, 1), (2, 3), (5, 2)])):
        rows = b"".join((b"\0" + bytes(3 * columns)) * lines for columns, lines in passes)
        data = bytearray(png(size, size, 8, 2, []))
        data[28] = 1
        body = zlib.compress(rows)
        assert not damage.lacks_rows(bytes(data[:33]) + struct.pack(">I", len(body)) + b"IDAT" + body + bytes(4))
        cut = zlib.compress(rows[:-1])
        assert damage.lacks_rows(bytes(data[:33]) + struct.pack(">I", len(cut)) + b"IDAT" + cut + bytes(4))


def test_a_damaged_scan_whose_marker_could_stand_there_is_seen():
    """Of two random bytes behind FF one in ten looks like a segment; the segment then ends at no marker."""
    data = encoded(Image.fromarray(NOISE), "JPEG", quality=90)
    start = data.index(b"\xff\xda") + 40
    damaged = data[:start] + b"\xff\xe4\x01\x10" + data[start + 4 :]
    assert damage.has_stray_markers(damaged)
    assert not damage.has_stray_markers(data)


def test_what_files_become_is_that_of_the_version():
    """Features are kept under `pixels.VERSION`: whoever changes what a file becomes raises it and renews the digest."""
    rgba = Image.fromarray(np.concatenate([NOISE, NOISE[..., :1]], -1))
    palette = Image.frombytes("P", (60, 40), NOISE[..., 0].tobytes())
    palette.putpalette(NOISE.ravel()[:768].tolist())
    deep = {name: data for name, data in deep_files().items() if name in ("png", "tiff", "colour", "pgm", "ppm")}
    files = {f"{name}, {white}": (data, white) for name, data in deep.items() for white in (None, 4095.0)}
    files |= {
        "colours": (encoded(Image.fromarray(NOISE), "PNG"), None),
        "opacity": (encoded(rgba, "PNG"), None),
        "palette": (encoded(palette, "PNG"), None),
        "black and white": (encoded(Image.fromarray(NOISE[..., 0] > 99), "PNG"), None),
        "white is 0": (grey_tiff(16, 0, TWELVE.astype("<u2").tobytes(), 4), 4095.0),
        "dark": (encoded(Image.fromarray(NOISE // 2), "BMP"), 127.0),
    }
    whole = hashlib.sha256()
    for name in sorted(files):
        data, white = files[name]
        whole.update(name.encode() + np.asarray(pixels.decode(data, WHITE, white)).tobytes())
    assert (pixels.VERSION, whole.hexdigest()[:16]) == (2, "bba4a6a2efad67d2")
