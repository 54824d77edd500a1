"""A map of standard deviations: a pixel for a pixel, with its scale below."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

MAP = 'magma'  # lightness rises evenly; legible in grey and with every kind of colour vision
STRIP = 40  # px: height of the scale
BAR = 14  # px: of its colours
SIZE = 13  # px: of its letters
NARROWEST = 300  # px: what the scale's words take


def draw_deviation(deviation: np.ndarray) -> Image.Image:
    """Draw standard deviations, black for 0, with a scale below.

    Args:
        deviation: (H, W), grey levels of 255.

    Returns:
        The map, a pixel for a pixel in the upper left corner, and below it the scale from 0 to the largest value; at
        least 300 px wide.
    """
    colours = matplotlib.colormaps[MAP]
    height, width = deviation.shape
    top = float(deviation.max())
    drawn = Image.new('RGB', (max(width, NARROWEST), height + STRIP), 'white')
    drawn.paste(Image.fromarray(colours(deviation / (top or 1), bytes=True)[..., :3].copy()), (0, 0))
    bar = np.linspace(0, 1, drawn.width)[None].repeat(BAR, 0)
    drawn.paste(Image.fromarray(colours(bar, bytes=True)[..., :3].copy()), (0, height + 4))
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path(), 'fonts', 'ttf', 'DejaVuSans.ttf')), SIZE)
    pen, line = ImageDraw.Draw(drawn), height + STRIP - 3
    pen.text((3, line), '0', 'black', font, anchor='ls')
    pen.text((drawn.width / 2, line), 'std, grey levels of 255', 'black', font, anchor='ms')
    pen.text((drawn.width - 3, line), f'{top:.3g}', 'black', font, anchor='rs')
    return drawn
