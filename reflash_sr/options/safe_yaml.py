"""Safe reading of YAML from unknown sources: plain values only, limited in number and depth."""

from __future__ import annotations

import re
from typing import Any

import yaml

from reflash_sr.errors import UserError

MOST_BYTES = 256 * 1024  # the shipped option files have about 3 KB
MOST_VALUES = 10_000  # after aliases are expanded
MOST_LEVELS = 20
_TOO_DEEP = f'more than {MOST_LEVELS} sections or lists inside one another'
_TAG = 'tag:yaml.org,2002:'
_HINTS = {'could not determine a constructor': '; an option file holds plain values only',
          'unknown escape character': '; write / instead of \\ in a path'}


class _Loader(yaml.SafeLoader):
    """Refuses tags that build objects and keys that occur twice; reads ``1e-4`` as a number."""

    yaml_implicit_resolvers = {first: [(tag, pattern) for tag, pattern in resolvers if tag != f'{_TAG}timestamp']
                               for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()}
    yaml_constructors = {tag: function for tag, function in yaml.SafeLoader.yaml_constructors.items()
                         if tag not in {_TAG + name for name in ('binary', 'timestamp', 'omap', 'pairs', 'set')}}
    _aliases = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        if self.check_event(yaml.AliasEvent):
            self._aliases += 1
            if self._aliases > 1000:
                raise _refused('more than 1000 aliases', self.peek_event().start_mark)
        return super().compose_node(parent, index)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        if len(node.value) > 1000:  # repeated merge keys double the size each time (PyYAML before 6.0.4)
            raise _refused('a section of more than 1000 keys', node.start_mark)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == f'{_TAG}merge':
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise _refused(f'a key must be text, not {str(key)[:40]}', key_node.start_mark)
            if key in seen:
                raise _refused(f"the key '{key}' occurs twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(f'{_TAG}float', re.compile(r'^[-+]?\d+(?:\.\d*)?[eE][-+]?\d+$'), list('-+0123456789'))


def _refused(reason: str, mark: yaml.Mark) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, reason, mark)


def parse(text: str, where: str) -> Any:
    """Parse YAML: text, numbers, booleans, ``~``, lists, and sections whose keys are text. Aliases are copied.

    Raises:
        UserError: Not YAML, a tag that would build an object, a key that occurs twice, more than 10,000 values or 20
            levels, a number beyond 64 bits. The message begins with ``where``.
    """
    try:
        value = yaml.load(text, Loader=_Loader)  # a SafeLoader
    except Exception as error:  # PyYAML's constructors raise whatever int(), float() and str methods raise
        mark = getattr(error, 'problem_mark', None)
        line = f'line {mark.line + 1}: ' if mark else ''
        reason = getattr(error, 'problem', None) or f'a value that does not fit its tag ({error})'
        reason = _TOO_DEEP if isinstance(error, RecursionError) else reason
        hint = next((hint for start, hint in _HINTS.items() if start in reason), '')
        raise UserError(f'{where}: {line}{reason[:300]}{hint}') from error
    return _tree(value, where, [MOST_VALUES], 0)


def _tree(value: Any, where: str, left: list[int], level: int) -> Any:
    """Copy nested values and check them; ``left`` holds the number of values that are still allowed."""
    left[0] -= 1
    if left[0] < 0:
        raise UserError(f'{where}: more than {MOST_VALUES:,} values after aliases are expanded; write fewer')
    if level > MOST_LEVELS:
        raise UserError(f'{where}: {_TOO_DEEP}')
    if isinstance(value, dict):
        return {_tree(key, where, left, level): _tree(item, where, left, level + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_tree(item, where, left, level + 1) for item in value]
    if isinstance(value, int) and abs(value) >= 2**63:
        raise UserError(f'{where}: a whole number of more than 64 bits; write a smaller one')
    if isinstance(value, str) and ('\0' in value or any('\ud800' <= letter <= '\udfff' for letter in value)):
        raise UserError(f'{where}: {value[:40]!r} holds a character that no file name can hold')
    return value
