"""How clients make the input of an exported file out of an image: lines for the README of an export."""

from __future__ import annotations

from tlkit.modalities.pages import beside

_BACKGROUND = """
{% set input = inputs[0] %}
{% set image = settings.get("image", {}) %}
{% set red, green, blue = image.get("background") or (255, 255, 255) %}
"""

_PYTHON = (
    _BACKGROUND
    + """
from PIL import Image, ImageOps

{% if image.get("white") %}
# White is {{ "%g"|format(image.white) }}{{ " in pixels of over 8 bits" if image.white >= 255 }}: scale them to 0..255.
{% endif %}
image = ImageOps.exif_transpose(Image.open("example.png")).convert("RGBA")
background = Image.new("RGBA", image.size, ({{ red }}, {{ green }}, {{ blue }}, 255))
image = Image.alpha_composite(background, image).convert("RGB")
{% if input.shape[1] %}
image = image.resize(({{ input.shape[2] }}, {{ input.shape[1] }}), Image.Resampling.BILINEAR)
{% endif %}
inputs = {{ "{" }}{{ input.name|string_of }}: np.asarray(image, np.{{ input.dtype }})[None]}
"""
)

_KOTLIN = (
    _BACKGROUND
    + """
// android.graphics: Bitmap, Canvas, Color, Paint, Rect. ImageDecoder turns photos upright, BitmapFactory does not.
val small = Bitmap.createBitmap({{ input.shape[2] }}, {{ input.shape[1] }}, Bitmap.Config.ARGB_8888)
with(Canvas(small)) {
    drawColor(Color.rgb({{ red }}, {{ green }}, {{ blue }}))
    drawBitmap(bitmap, null, Rect(0, 0, {{ input.shape[2] }}, {{ input.shape[1] }}), Paint(Paint.FILTER_BITMAP_FLAG))
}
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
)

_SWIFT = (
    _BACKGROUND
    + """
let (height, width) = ({{ input.shape[1] }}, {{ input.shape[2] }})
var pixels = [UInt8](repeating: 0, count: height * width * 4)
let context = CGContext(
    data: &pixels, width: width, height: height, bitsPerComponent: 8, bytesPerRow: width * 4,
    space: CGColorSpaceCreateDeviceRGB(), bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)!
context.translateBy(x: 0, y: CGFloat(height))  // UIKit counts rows from the top
context.scaleBy(x: 1, y: -1)
UIGraphicsPushContext(context)
UIColor(red: {{ red }} / 255, green: {{ green }} / 255, blue: {{ blue }} / 255, alpha: 1).setFill()
UIRectFill(CGRect(x: 0, y: 0, width: width, height: height))
image.draw(in: CGRect(x: 0, y: 0, width: width, height: height))  // image: UIImage, drawn upright
UIGraphicsPopContext()
let colours = pixels.enumerated().filter { $0.offset % 4 != 3 }.map { $0.element }  // red, green, blue
{% if input.dtype == "uint8" %}
let inputs = [{{ input.name|string_of }}: Data(colours)]
{% else %}
let inputs = [{{ input.name|string_of }}: colours.map(Float.init).withUnsafeBytes { Data($0) }]
{% endif %}
"""
)

CALLS = {"python": _PYTHON, "kotlin": _KOTLIN, "swift": _SWIFT, "page": beside("image_page.js")}
