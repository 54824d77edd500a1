"""Errors that a user can act upon: one line, no traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in the user's input. The message says in one line what is wrong, where, and what to do instead."""

    exit_status = 2

    def __init__(self, message: str):
        # DataLoader re-raises the error of a worker, with the worker's traceback in front of the message.
        if message.startswith('Caught ') and 'Original Traceback' in message:
            message = message.rsplit(f'{type(self).__name__}: ', 1)[-1]
        # A file name may contain control characters, or characters that a log file cannot encode.
        super().__init__(''.join(c if c.isprintable() else c.encode('unicode_escape').decode()
                                 for c in ' '.join(message.split())))


class RunError(UserError):
    """The run had to stop, although its input is valid; for example, the loss is not finite."""

    exit_status = 1


def suggest(name: object, known: Iterable[str]) -> str:
    """Suggest the known word that is most similar to a misspelt ``name``.

    Returns:
        ``"; did you mean 'x'?"``, or the first 12 known words if none is similar; empty if ``known`` is.
    """
    known = sorted(known)
    in_lower_case = {word.lower(): word for word in known}
    near = difflib.get_close_matches(str(name).lower(), in_lower_case, n=1, cutoff=0.5)
    if near:
        return f"; did you mean '{in_lower_case[near[0]]}'?"
    return f'; known: {", ".join(known[:12])}{", …" if len(known) > 12 else ""}' if known else ''
