"""Words on pictures, in letters that any name of a class has, drawn once and then copied."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

Image = npt.NDArray[np.uint8]
Color = tuple[int, int, int]

KEPT = 4096  # words that are kept as they were drawn: names with scores in percent


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)


@lru_cache(KEPT)
def word(text: str, size: int, color: Color, background: Color) -> Image:
    """(h, w, 3) uint8 RGB: a line of text with a small margin; not to be written to.

    Args:
        text: the line.
        size: of the letters in pixels.
        color: of the letters.
        background: behind them.
    """
    font, margin = _font(size), max(2, size // 6)
    ascent, descent = font.getmetrics()
    width = int(np.ceil(font.getlength(text))) + 2 * margin
    image = Pillow.new("RGB", (width, ascent + descent + margin // 2), background)
    ImageDraw.Draw(image).text((margin, 0), text, font=font, fill=color)
    pixels = np.asarray(image)
    pixels.setflags(write=False)
    return pixels


def fitted(text: str, size: int, width: int, color: Color, background: Color) -> Image:
    """A ``word`` that is not wider than ``width``: in smaller letters, or squeezed where these would be too small."""
    pixels = word(text, size, color, background)
    while pixels.shape[1] > width and size > 9:
        size = max(9, size * width // pixels.shape[1])
        shorter = word(text, size, color, background)
        if shorter.shape[1] >= pixels.shape[1]:
            break
        pixels = shorter
    if pixels.shape[1] <= width:
        return pixels
    return np.asarray(cv2.resize(pixels, (max(width, 1), pixels.shape[0]), interpolation=cv2.INTER_AREA), np.uint8)


def put(picture: Image, pixels: Image, x: int, y: int) -> None:
    """Copies what of ``pixels`` lies in the picture, its upper left corner at (x, y); in place."""
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + pixels.shape[1], width), min(y + pixels.shape[0], height)
    if x0 < x1 and y0 < y1:
        picture[y0:y1, x0:x1] = pixels[y0 - y : y1 - y, x0 - x : x1 - x]


def readable_on(color: Color) -> Color:
    """Black letters on bright colours, white ones on dark; by luma (ITU-R BT.601)."""
    return (0, 0, 0) if 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 128 else (255, 255, 255)
