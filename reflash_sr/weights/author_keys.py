"""The paper authors' weights files: what their keys are called here."""

from __future__ import annotations

import re

_BLOCK_KEY = re.compile(r'body(?P<number>[1-9]\d*)\.0\.(?=conv[12]\.|rdb[123]\.)')
_BLOCK = re.compile(r'body\d+\.')


def translate_keys(names: list[str]) -> list[str]:
    """Translate weight keys: their ``body1.0.conv1.weight`` … ``body16.0.…`` are ``body.0.conv1.weight`` … here.

    Args:
        names: Keys of a state dict.

    Returns:
        The keys in our terms, in the same order; equal to ``names`` where they are not the authors': where a
        ``body1`` holds anything but one residual block.
    """
    if not all(_BLOCK_KEY.match(name) for name in names if _BLOCK.match(name)):
        return list(names)
    return [_BLOCK_KEY.sub(lambda match: f"body.{int(match['number']) - 1}.", name, count=1)
            if _BLOCK_KEY.match(name) else name for name in names]
