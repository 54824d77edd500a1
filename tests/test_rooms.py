"""The layout of the package: few rooms, imports one way, no file that is too long (docs/architecture.md)."""

import ast
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / 'reflash_sr'
# From the ground up: a room imports from rooms that stand before it, and from itself.
ORDER = ('errors', 'compat', 'system', 'options', 'positions', 'dropout', 'weights', 'archs', 'data',
         'evaluation', 'analysis', 'figures', 'models', 'training', 'studies', 'commands', 'api', 'cli', '__main__')
MOST_MODULES, MOST_FOLDERS, MOST_LINES = 8, 12, 300
FILES = sorted(ROOT.rglob('*.py'))


def room_of(module: str) -> str:
    return module.split('.')[1]


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def imported(path: Path) -> set[str]:
    """Modules of the package that a file imports, also inside of functions."""
    known = {name_of(one) for one in FILES}
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f'{node.module}.{alias.name}' if f'{node.module}.{alias.name}' in known else node.module
                      for alias in node.names}
    return {name for name in found if name in known and name != 'reflash_sr'}


MODULES = [path for path in FILES if path != ROOT / '__init__.py']


@pytest.mark.parametrize('path', MODULES, ids=name_of)
def test_imports_run_one_way(path):
    own = ORDER.index(room_of(name_of(path)))
    upwards = [name for name in imported(path) if ORDER.index(room_of(name)) > own]
    assert not upwards


def test_no_circle():
    graph = {name_of(path): imported(path) - {name_of(path)} for path in MODULES}
    while graph:
        ground = [name for name, needs in graph.items() if not needs & graph.keys()]
        assert ground, f'these import each other: {sorted(graph)}'
        for name in ground:
            del graph[name]


def test_the_front_hall_is_small():
    assert len(list(ROOT.glob('*.py'))) <= MOST_MODULES
    assert len([path for path in ROOT.iterdir() if path.is_dir() and path.name != '__pycache__']) <= MOST_FOLDERS


@pytest.mark.parametrize('path', FILES, ids=name_of)
def test_no_file_is_too_long(path):
    assert len(path.read_text(encoding='utf-8').splitlines()) <= MOST_LINES


@pytest.mark.parametrize('folder', ['reflash_sr', 'tests', 'tools', 'benchmarks', 'docs', '.'])
def test_nothing_that_a_newer_python_warns_of_while_it_compiles(folder):
    here = ROOT.parent / folder
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for path in here.glob('*.py') if folder == '.' else here.rglob('*.py'):
            compile(path.read_bytes(), path, 'exec')
