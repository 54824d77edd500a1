"""What the fuzz tests share: how many examples, and damages to bytes."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from reflash_sr.errors import UserError

LONG = int(os.environ.get('REFLASH_FUZZ', '0'))


def examples(short: int) -> settings:
    """Settings for ``short`` examples, the same every time, or for ``REFLASH_FUZZ`` random ones."""
    return settings(max_examples=LONG or short, derandomize=not LONG, deadline=None, database=None,
                    suppress_health_check=list(HealthCheck))


@st.composite
def damages(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes that differ from ``data``: flipped, cut at either end or in the middle, inserted, or overwritten."""
    kind = draw(st.sampled_from(('flip', 'flip', 'flip many', 'cut end', 'cut start', 'cut out', 'insert', 'zero')))
    place = draw(st.integers(0, len(data) - 1))
    length = draw(st.integers(1, 64))
    if kind == 'flip many':
        damaged = bytearray(data)
        for _ in range(draw(st.integers(2, 20))):
            damaged[draw(st.integers(0, len(data) - 1))] ^= draw(st.integers(1, 255))
        return bytes(damaged) if bytes(damaged) != data else data[:-1]
    damaged = {
        'flip': lambda: data[:place] + bytes([data[place] ^ draw(st.integers(1, 255))]) + data[place + 1:],
        'cut end': lambda: data[:place],
        'cut start': lambda: data[place + 1:],
        'cut out': lambda: data[:place] + data[place + length:],
        'insert': lambda: data[:place] + draw(st.binary(min_size=1, max_size=64)) + data[place:],
        'zero': lambda: data[:place] + bytes(len(data[place:place + length])) + data[place + length:],
    }[kind]()
    return damaged if damaged != data else data[:-1]


def is_one_line(error: UserError, *words: str) -> bool:
    """Whether an error is one printable line that holds ``words``."""
    return str(error).isprintable() and all(word in str(error) for word in words)
