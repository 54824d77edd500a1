"""Rules for the values in an option file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rule:
    """A condition on one value."""

    wanted: str  # completes the sentence "must be …"
    holds: Callable[[Any], bool]  # whether a value satisfies the rule; never raises


def is_number(value: object) -> bool:
    """Whether ``value`` is a finite int or float, not a bool. Never raises, however large it is."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300


def is_int(value: object) -> bool:
    """Whether ``value`` is an int of 32 bits, not a bool."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**31


def one_of(*choices: object) -> Rule:
    """The rule that a value is one of ``choices``."""
    return Rule('one of ' + ', '.join(map(str, choices)), lambda v: v in choices)


COLOR = one_of('y', 'rgb', None)  # of the images of a dataset; BasicSR's datasets take anything but y for RGB


def up_to(most: int, least: int = 1) -> Rule:
    """The rule that a value is a whole number from ``least`` to ``most``; larger ones would fill the memory."""
    return Rule(f'a whole number, {least} to {most:,}', lambda v: is_int(v) and least <= v <= most)


def or_none(rule: Rule) -> Rule:
    """The rule that a value is None (``~``) or satisfies ``rule``."""
    return Rule(f'{rule.wanted}, or ~', lambda v: v is None or rule.holds(v))


def list_of(rule: Rule, wanted: str, most: int | None = None) -> Rule:
    """The rule that a value is a list of one to ``most`` values that satisfy ``rule``."""
    return Rule(f'a list of {wanted}',
                lambda v: isinstance(v, (list, tuple)) and 0 < len(v) <= (most or len(v)) and all(map(rule.holds, v)))


ANY = Rule('anything', lambda v: True)
BOOL = Rule('true or false', lambda v: isinstance(v, bool))
TEXT = Rule('text', lambda v: isinstance(v, str) and v != '')
TEXT_OR_NONE = or_none(TEXT)
POSITIVE = Rule('a number above 0', lambda v: is_number(v) and v > 0)
NOT_NEGATIVE = Rule('a number, 0 or above', lambda v: is_number(v) and v >= 0)
INT = Rule('a whole number', is_int)
POSITIVE_INT = Rule('a whole number above 0', lambda v: is_int(v) and v > 0)
COUNT = Rule('a whole number, 0 or above', lambda v: is_int(v) and v >= 0)
PROBABILITY = Rule('a probability in [0, 1]', lambda v: is_number(v) and 0 <= v <= 1)
DROP_RATE = Rule('a probability in [0, 1)', lambda v: is_number(v) and 0 <= v < 1)
SECTION = Rule('a section (key: value lines, indented)', lambda v: isinstance(v, dict))
NUMBERS = list_of(NOT_NEGATIVE, 'numbers, 0 or above')
RANGE = Rule('two numbers [low, high] with 0 <= low <= high',
             lambda v: NUMBERS.holds(v) and len(v) == 2 and v[0] <= v[1])
WEIGHTS = Rule('a list of numbers, 0 or above and not all 0', lambda v: NUMBERS.holds(v) and sum(v) > 0)
