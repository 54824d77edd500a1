"""What a value in an option file may be: small named rules, used in tables of keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rule:
    """A condition on one value.

    Attributes:
        wanted: What to write, in words: completes the sentence "must be …".
        holds: Whether a value satisfies the rule. Never raises.
    """

    wanted: str
    holds: Callable[[Any], bool]


def is_number(value: object) -> bool:
    """Whether ``value`` is a finite int or float (a bool is not a number); never raises, however large it is."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300


def is_int(value: object) -> bool:
    """Whether ``value`` is an int of 32 bits (a bool is not)."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**31


def _is_list_of(value: object, holds: Callable[[Any], bool]) -> bool:
    return isinstance(value, (list, tuple)) and len(value) > 0 and all(holds(v) for v in value)


ANY = Rule('anything', lambda v: True)
BOOL = Rule('true or false', lambda v: isinstance(v, bool))
TEXT = Rule('text', lambda v: isinstance(v, str) and v != '')
TEXT_OR_NONE = Rule('text or ~', lambda v: v is None or (isinstance(v, str) and v != ''))
POSITIVE = Rule('a number above 0', lambda v: is_number(v) and v > 0)
NOT_NEGATIVE = Rule('a number, 0 or above', lambda v: is_number(v) and v >= 0)
INT = Rule('a whole number', is_int)
POSITIVE_INT = Rule('a whole number above 0', lambda v: is_int(v) and v > 0)
COUNT = Rule('a whole number, 0 or above', lambda v: is_int(v) and v >= 0)
PROBABILITY = Rule('a probability in [0, 1]', lambda v: is_number(v) and 0 <= v <= 1)
DROP_RATE = Rule('a probability in [0, 1)', lambda v: is_number(v) and 0 <= v < 1)
SECTION = Rule('a section (key: value lines, indented)', lambda v: isinstance(v, dict))
RANGE = Rule('two numbers [low, high] with 0 <= low <= high',
             lambda v: _is_list_of(v, is_number) and len(v) == 2 and 0 <= v[0] <= v[1])
WEIGHTS = Rule('a list of numbers, 0 or above and not all 0',
               lambda v: _is_list_of(v, lambda w: is_number(w) and w >= 0) and sum(v) > 0)


def one_of(*choices: object) -> Rule:
    """The rule that a value is one of ``choices``."""
    return Rule('one of ' + ', '.join(str(c) for c in choices), lambda v: v in choices)


def up_to(most: int) -> Rule:
    """The rule that a value is a whole number from 1 to ``most``: what is beyond would take a machine's memory."""
    return Rule(f'a whole number, 1 to {most:,}', lambda v: is_int(v) and 0 < v <= most)
