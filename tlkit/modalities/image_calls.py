"""How clients make the input of an exported file out of an image: lines for the README of an export."""

from __future__ import annotations

from tlkit.modalities.pages import beside

_PYTHON = """
from PIL import Image

{% set input = inputs[0] %}
image = Image.open("example.png").convert("RGB")
{% if input.shape[1] %}
image = image.resize(({{ input.shape[2] }}, {{ input.shape[1] }}))
{% endif %}
inputs = {{ "{" }}{{ input.name|string_of }}: np.asarray(image, np.{{ input.dtype }})[None]}
"""

_KOTLIN = """
{% set input = inputs[0] %}
val small = Bitmap.createScaledBitmap(bitmap, {{ input.shape[2] }}, {{ input.shape[1] }}, true)  // ARGB_8888
val pixels = IntArray({{ input.shape[1] * input.shape[2] }})
small.getPixels(pixels, 0, {{ input.shape[2] }}, 0, 0, {{ input.shape[2] }}, {{ input.shape[1] }})
val image = ByteBuffer.allocateDirect({{ input.bytes }}).order(ByteOrder.nativeOrder())
for (pixel in pixels) for (shift in intArrayOf(16, 8, 0)) {  // red, green, blue
{% if input.dtype == "uint8" %}
    image.put((pixel shr shift).toByte())
{% else %}
    image.putFloat(((pixel shr shift) and 255).toFloat())
{% endif %}
}
image.rewind()
val inputs = mapOf<String, Any>({{ input.name|string_of }} to image)
"""

_SWIFT = """
{% set input = inputs[0] %}
let (height, width) = ({{ input.shape[1] }}, {{ input.shape[2] }})
var pixels = [UInt8](repeating: 0, count: height * width * 4)
let context = CGContext(
    data: &pixels, width: width, height: height, bitsPerComponent: 8, bytesPerRow: width * 4,
    space: CGColorSpaceCreateDeviceRGB(), bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)!
context.draw(image.cgImage!, in: CGRect(x: 0, y: 0, width: width, height: height))  // image: UIImage
let colours = pixels.enumerated().filter { $0.offset % 4 != 3 }.map { $0.element }  // red, green, blue
{% if input.dtype == "uint8" %}
let inputs = [{{ input.name|string_of }}: Data(colours)]
{% else %}
let inputs = [{{ input.name|string_of }}: colours.map(Float.init).withUnsafeBytes { Data($0) }]
{% endif %}
"""

CALLS = {"python": _PYTHON, "kotlin": _KOTLIN, "swift": _SWIFT, "page": beside("image_page.js")}
