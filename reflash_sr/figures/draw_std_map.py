"""A map of standard deviations, pixel by pixel, with its scale below."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

MAP = 'magma'  # perceptually uniform; legible in greyscale and with colour blindness
STRIP = 40  # px: height of the scale
BAR = 14  # px: height of its colour bar
SIZE = 13  # px: font size
NARROWEST = 300  # px: room for the text of the scale


def draw_deviation(deviation: np.ndarray) -> Image.Image:
    """Draw standard deviations, black for 0, with a scale below.

    Args:
        deviation: (H, W), in 8-bit grey levels.

    Returns:
        The map in the upper left corner, one pixel per value, and below it the scale from 0 to the largest value;
        at least 300 px wide.
    """
    height, width = deviation.shape
    top = float(deviation.max())
    drawn = Image.new('RGB', (max(width, NARROWEST), height + STRIP), 'white')
    bar = np.linspace(0, 1, drawn.width)[None].repeat(BAR, 0)
    for values, upper in ((deviation / (top or 1), 0), (bar, height + 4)):
        rgba = matplotlib.colormaps[MAP](values, bytes=True)
        drawn.paste(Image.fromarray(rgba[..., :3].copy()), (0, upper))
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path(), 'fonts', 'ttf', 'DejaVuSans.ttf')), SIZE)
    pen, line = ImageDraw.Draw(drawn), height + STRIP - 3
    for x, text, anchor in ((3, '0', 'ls'), (drawn.width / 2, 'std, grey levels of 255', 'ms'),
                            (drawn.width - 3, f'{top:.3g}', 'rs')):
        pen.text((x, line), text, 'black', font, anchor=anchor)
    return drawn
