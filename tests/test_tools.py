"""The tools as commands, one after the other, as their pages have it: what each prints is where its results are."""

import runpy
import sys
from pathlib import Path

import pytest
import torch

from tests.commands.test_evaluate_degradations import save_network

TOOLS = sorted((Path(__file__).parents[1] / 'tools').glob('*.py'))

pytestmark = pytest.mark.usefixtures('in_tmp_path')


@pytest.fixture
def tool(monkeypatch, capsys):
    """Run a tool in this process; returns its exit status and what it printed."""

    def run(name, *args):
        path = next(path for path in TOOLS if path.stem == name)
        monkeypatch.setattr(sys, 'argv', [str(path), *map(str, args)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(path), run_name='__main__')
        return ended.value.code, capsys.readouterr().out

    return run


def trained(p, seed):
    path = save_network(Path(f'p{p}_seed{seed}.pth'), 10 * seed + int(10 * p), dropout_p=p)
    content = torch.load(path, weights_only=True)
    content['trained']['manual_seed'] = seed
    torch.save(content, path)
    return path


@pytest.mark.parametrize('path', TOOLS, ids=[path.stem for path in TOOLS])
def test_every_tool_explains_itself(tool, path):
    status, said = tool(path.stem, '--help')
    assert status == 0
    assert said.startswith('usage: ')


def test_a_user_that_is_not_there_is_no_traceback(tool, image_folder):
    status, _ = tool('prepare_data', '--input', image_folder, '--output', '~nobody-of-this-name/x')
    assert status == 2


def test_photographs_are_cut_and_not_twice(tool, image_folder):
    arguments = 'prepare_data', '--input', image_folder, '--output', 'cut', '--size', 48, '--step', 24
    assert tool(*arguments)[0] == 0
    cut = {path: path.stat().st_mtime_ns for path in Path('cut').rglob('*.png')}
    assert len(cut) == 4 * 2 * 3  # four photographs of 72×96
    assert tool(*arguments)[0] == 0
    assert cut == {path: path.stat().st_mtime_ns for path in Path('cut').rglob('*.png')}


def test_from_weights_to_a_page_of_results(tool, image_folder):
    Path('page.md').write_text('# Page\n\n<!-- from mine/gains/gains.md, table 1 -->\n', encoding='utf-8')
    for seed in (0, 1):
        status, said = tool('evaluate_degradations', '--weights', trained(0, seed), trained(0.3, seed), '--gt',
                            f'mine={image_folder}', '--degradations', 'clean', 'b+n', '--out', f'page/mine/at_{seed}')
        assert status == 0
        assert f'page/mine/at_{seed}' in said
    status, said = tool('compare_seeds', '--results', 'page/mine/at_0', 'page/mine/at_1', '--out', 'gains')
    assert status == 0
    assert said.splitlines()[-1] == 'Results: gains'
    status, said = tool('build_evidence', 'page.md')
    assert status == 0
    assert 'written: page.md' in said.splitlines()
    rows = [line for line in Path('page.md').read_text(encoding='utf-8').splitlines() if line.startswith('| mine |')]
    assert len(rows) == 1
    assert rows[0] in Path('gains/gains.md').read_text(encoding='utf-8').splitlines()
    assert rows[0].endswith('| 2 |')  # seeds


@pytest.mark.slow
def test_a_report_is_one_page(tool):
    status, said = tool('report', '--weights', trained(0, 0), trained(0.3, 0), '--images', 'photos:val',
                        '--degradations', 'clean', '--limit', 1, '--crop', 16, '--samples', 4, '--out', 'report')
    assert status == 0
    page = Path(said.splitlines()[-1].removeprefix('Page: '))
    assert page.parent == Path('report')
    assert '</html>' in page.read_text(encoding='utf-8')
