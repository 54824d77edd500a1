"""Whether two image files show the same picture: equal pixels, or another format or size of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import cv2
import numpy as np

SIDE = 16  # px of a thumbnail
CLOSE = 1.0  # grey levels: largest mean difference of the thumbnails of one picture; JPEG and resizing cause 0.3
STRUCTURE = 3.0  # grey levels: smallest standard deviation of a thumbnail that says anything


@dataclass(frozen=True)
class Fingerprint:
    """What is known of a picture.

    Attributes:
        pixels: Checksum of the pixels.
        small: (SIDE, SIDE) float, grey.
    """

    pixels: str
    small: np.ndarray

    @classmethod
    def of(cls, image: np.ndarray) -> Fingerprint:
        """Of an image, (H, W, C) uint8."""
        checksum = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()
        grey = image.mean(axis=2, dtype=np.float32)
        return cls(checksum, cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA))

    def is_same(self, other: Fingerprint) -> bool:
        """Whether both are of one picture; two pictures without structure only if their pixels are equal."""
        if self.pixels == other.pixels:
            return True
        return bool(self.small.std() > STRUCTURE and np.abs(self.small - other.small).mean() < CLOSE)
