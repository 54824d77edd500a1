"""Many small maps side by side, on one colour scale, each with a caption above it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

TILE = 128  # px: longer side of a drawn map
GAP = 4  # px between tiles
TEXT = 22  # px above a tile, for its caption


def draw_tiles(axes: Axes, maps: np.ndarray, columns: int, captions: Sequence[str], limits: tuple[float, float],
               colours: str) -> AxesImage:
    """Draw maps in rows.

    Args:
        axes: Axes to draw on; their frame is removed.
        maps: (K, H, W).
        columns: Maps per row.
        captions: One for each map; may be empty.
        limits: Values of the first and the last colour.
        colours: Name of the colour map.

    Returns:
        The image, for a colour bar.
    """
    tiles = np.stack([_fit(values) for values in maps])
    count, height, width = tiles.shape
    rows = -(-count // columns)
    above = TEXT if any(captions) else 0
    sheet = np.full((rows * (height + GAP + above) - GAP, columns * (width + GAP) - GAP), np.nan, np.float32)
    for place, (tile, caption) in enumerate(zip(tiles, captions)):
        top = (place // columns) * (height + GAP + above) + above
        left = (place % columns) * (width + GAP)
        sheet[top:top + height, left:left + width] = tile
        axes.text(left + width / 2 - 0.5, top - 5, caption, size=7, ha='center', va='bottom')
    axes.set_axis_off()
    return axes.imshow(sheet, cmap=colours, vmin=limits[0], vmax=limits[1], interpolation='nearest')


def _fit(values: np.ndarray) -> np.ndarray:
    """Resize a map to the size of a tile: large maps are averaged, pixels of small maps are repeated."""
    values = np.ascontiguousarray(values, np.float32)
    ratio = TILE / max(values.shape)
    size = tuple(max(round(side * ratio), 1) for side in values.shape[::-1])
    return cv2.resize(values, size, interpolation=cv2.INTER_AREA if ratio < 1 else cv2.INTER_NEAREST)


def ceiling(values: np.ndarray) -> float:
    """Value of the last colour for magnitudes: the 99.8th percentile; if it is 0, the maximum; if that is 0, 1."""
    top = float(np.percentile(values, 99.8)) if values.size else 0.0
    return top or float(values.max(initial=0)) or 1.0
