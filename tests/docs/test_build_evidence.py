"""A page of results says what the results beside it say, however often it is built."""

import dataclasses
import json
from pathlib import Path

import gather_inside as inside
import pytest
import torch
from build_page import build

from reflash_sr.analysis.image_pairs import ImageSelection, load_pairs
from reflash_sr.analysis.measure_ablation import AblationPlan
from reflash_sr.analysis.measure_clusters import ClusterPlan
from reflash_sr.commands import ablate_channels as ablation
from reflash_sr.commands import cluster_degradations as clusters
from reflash_sr.commands import map_saliency as saliency
from reflash_sr.commands.evaluate_degradations import Settings, evaluate
from reflash_sr.data.test_degradation.benchmark_sets import open_sets
from reflash_sr.errors import UserError
from reflash_sr.weights.network_from_file import open_network
from tests.commands.test_compare_seeds import network
from tests.conftest import fill

MARK = "<!-- from mine/gains/gains.md, table 1, rows with 'images' -->"
ODD_INSIDE = [  # part, change of its summary, what is said
    ('ablation', lambda it: it['settings']['networks'][0]['trained'].update(manual_seed=1),
     'ablation: holds .*, of seed 1'),
    ('ablation', lambda it: it['settings']['networks'][1].update(dropout_p=0), 'dropout_p is 0, but 0.3 in network_g'),
    ('ablation', lambda it: it['models'][1].update(label=it['models'][0]['label']), 'holds two networks of p = 0'),
    ('ablation', lambda it: it['models'][0]['layers'][0].update(gini='x'), "gini must be a number or null, not 'x'"),
    ('ablation', lambda it: it['models'][1]['layers'][0].update(layer='B1'), 'is about layer B1, but .* about last'),
    ('ablation', lambda it: it.update(models=[]), 'is not as .*no models'),
    ('clusters', lambda it: it['models'][0].update(chi_pca='1'), "chi_pca must be a number or null, not '1'"),
    ('saliency', lambda it: it['settings']['networks'][1].update(sha256='00'), 'saliency: is of other networks than'),
    ('saliency', lambda it: it.update(tool='ablate_channels'),
     r'saliency: holds results of ablate_channels; .* tools/map_saliency\.py'),
    ('clusters', lambda it: it['models'][0].pop('chi_by_seed'), 'clusters: its summary.json: is not as .*chi_by_seed'),
]
INSIDE = '<!-- from mine/inside/inside.md, table 1 -->'


@pytest.fixture
def study(tmp_path):
    """A page with an empty table, and a study of two networks beside it."""
    fill(tmp_path / 'images', 2, 40, 48)
    both = [network(tmp_path, p, 0) for p in (0, 0.3)]
    sets = open_sets([f'images={tmp_path / "images"}'], ['clean', 'blur'], [], [], [], 4, 0)
    evaluate(both, sets, tmp_path / 'page/mine/at_6', Settings(strips=0))
    (tmp_path / 'page.md').write_text(f'# Page\n\n{MARK}\n\nafter\n', encoding='utf-8')
    return tmp_path / 'page.md', both


def look_into(networks, folder):
    selection = ImageSelection(str(Path(networks[0].path).parent / 'images'), 'clean', 1, 8)
    pairs = load_pairs(selection, networks)
    ablation.run(selection, pairs, ['last'], AblationPlan(random_orders=1), networks, folder / 'ablation')
    saliency.run(selection, pairs, ['last'], networks, folder / 'saliency', correlate=False, sheets=0)
    plan = ClusterPlan('photos:val', samples=4, sample=16, perplexity=3, tsne_seeds=2, pca=3)
    clusters.run(plan, networks, folder / 'clusters')


def test_tables_are_filled_and_building_again_changes_nothing(study):
    page, _ = study
    assert page.with_suffix('') / 'mine/gains' in build(page)[0]
    text = page.read_text(encoding='utf-8')
    kept = (page.with_suffix('') / 'mine/gains/gains.md').read_text(encoding='utf-8').splitlines()
    lines = [line for line in text.splitlines() if line.startswith('|')]
    assert lines[0].startswith('| dataset |') and lines[2].startswith('| images | p = 0.3 |')
    assert set(lines) <= set(kept)
    assert f'{MARK}\n\n*Gain in PSNR in dB over p = 0 of the same seed' in text
    assert text.startswith('# Page\n\n') and text.endswith('|\n\nafter\n')
    build(page)
    assert page.read_text(encoding='utf-8') == text
    assert {path.name for path in page.with_suffix('').joinpath('mine').iterdir()} == {'at_6', 'gains'}


def test_page_follows_its_scores(study):
    page, _ = study
    build(page)
    before = page.read_text(encoding='utf-8')
    scores = page.with_suffix('') / 'mine/at_6/scores.csv'
    lines = scores.read_text(encoding='utf-8').splitlines(keepends=True)
    place = next(i for i, line in enumerate(lines) if 'p0.3' in line)
    head, value = lines[place].rstrip('\n').rsplit(',', 1)
    lines[place] = f'{head},{float(value) + 3}\n'
    scores.write_text(''.join(lines), encoding='utf-8')
    build(page)
    assert page.read_text(encoding='utf-8') != before


def test_what_is_inside_is_gathered(study):
    page, both = study
    folder = page.with_suffix('') / 'mine/inside/seed0'
    look_into(both, folder)
    page.write_text(f'{INSIDE}\n', encoding='utf-8')
    assert folder.parent in build(page)[0]
    assert {path.name for path in folder.parent.iterdir()} == {'seed0', 'inside.md', 'in_turn.png', 'chi_over_p.png'}
    rows = [line.strip('| ').split(' | ') for line in page.read_text(encoding='utf-8').splitlines()[2:]]
    found = [dict(zip(rows[0], row)) for row in rows[2:]]
    assert [(one['p'], one['seed']) for one in found] == [('0', '0'), ('0.3', '0')]
    for part, change, reason in ODD_INSIDE:
        odd = json.loads((kept := folder / part / 'summary.json').read_text(encoding='utf-8'))
        change(odd)
        before = kept.rename(kept.with_suffix('.kept'))
        kept.write_text(json.dumps(odd), encoding='utf-8')
        (folder.parent / 'inside.md').write_text('kept', encoding='utf-8')
        with pytest.raises(UserError, match=reason):
            inside.gather(folder.parent)
        assert (folder.parent / 'inside.md').read_text(encoding='utf-8') == 'kept'
        before.replace(kept)
    curves = next(folder.glob('ablation/*/in_turn.csv'))
    lines = curves.read_text(encoding='utf-8').splitlines(keepends=True)
    curves.write_text(''.join(lines[:-3]), encoding='utf-8')
    with pytest.raises(UserError, match=r'in_turn\.csv: lacks some of the \d+ channels of last'):
        build(page)
    wanted = json.loads((folder / 'ablation/summary.json').read_text(encoding='utf-8'))['models'][1]['layers'][0]
    assert float(found[1]['Gini of drops']) == pytest.approx(wanted['gini'], abs=0.005)
    assert float(found[1]['may go, in random order']) == pytest.approx(wanted['share_1db']['random'], abs=0.005)
    wanted = json.loads((folder / 'clusters/summary.json').read_text(encoding='utf-8'))['models'][0]
    assert float(found[0]['CHI (t-SNE)']) == pytest.approx(wanted['chi'], abs=0.05)


SEED1 = {  # change of the settings of the second seed's parts, or of a network of it: what is said
    'degradation': (lambda part, it: it['settings'].update(degradation='blur'), 'blur instead of clean as'),
    'images': (lambda part, it: it.update(images=['other']), "images: .'other'. instead of"),
    'iteration': (lambda part, it: [one['trained'].update(iter=3) for one in it['settings']['networks']],
                  'use networks of one iteration'),
    'weights': (lambda part, it: [one.update(key='params_ema') for one in it['settings']['networks']],
                'of iteration 6, params; use networks'),
    'architecture': (lambda part, it: it['settings']['networks'][0]['network_g'].update(num_block=99),
                     'differ only in dropout, seed and iteration'),
    'not evaluated': (lambda part, it: [one.update(sha256=one['sha256'][::-1]) for one in it['settings']['networks']],
                      'none of the networks that were evaluated'),
    'layer': (lambda part, it: part != 'clusters' or [one.update(layer='B3') for one in it['models']],
              'clusters: is about layer B3'),
}


@pytest.fixture
def two_seeds(study, tmp_path):
    """A page with what is inside of four networks, of two seeds."""
    page, first = study
    second = [network(tmp_path, p, 1) for p in (0, 0.3)]
    sets = open_sets([f'images={tmp_path / "images"}'], ['clean', 'blur'], [], [], [], 4, 0)
    evaluate(second, sets, tmp_path / 'page/mine/at_6_more', Settings(strips=0))
    for seed, both in enumerate((first, second)):
        look_into(both, page.with_suffix('') / f'mine/inside/seed{seed}')
    return page


def snapshot(folder):
    return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}


@pytest.mark.slow
def test_seeds_that_were_looked_into_in_another_way_are_refused(two_seeds):
    page = two_seeds
    build(page)
    before, inner = snapshot(page.parent), page.with_suffix('') / 'mine/inside'
    for change, reason in SEED1.values():
        for part in inside.PARTS:
            path = inner / 'seed1' / part / 'summary.json'
            summary = json.loads(path.read_text(encoding='utf-8'))
            change(part, summary)
            path.write_text(json.dumps(summary), encoding='utf-8')
        with pytest.raises(UserError, match=reason) as caught:
            build(page)
        assert '\n' not in str(caught.value)
        for path, content in before.items():
            if path.name == 'summary.json' and 'seed1' in path.parts:
                path.write_bytes(content)
        assert snapshot(page.parent) == before
    for damage, reason in (
            (lambda lines: lines + lines[1:], 'stands twice'),
            (lambda lines: [*lines[:5], ','.join([*lines[5].split(',')[:4], 'nan', '0']), *lines[6:]], 'nan dB'),
            (lambda lines: [line for line in lines if ',random' not in line], 'has other images, orders or channels'),
            (lambda lines: [*lines, 'x' * 200_000], 'is not as tools/ablate_channels.py writes it')):
        path = sorted(inner.glob('seed1/ablation/*/in_turn.csv'))[-1]
        path.write_text('\n'.join(damage(path.read_text(encoding='utf-8').splitlines())) + '\n', encoding='utf-8')
        with pytest.raises(UserError, match=reason):
            build(page)
        path.write_bytes(before[path])
        assert snapshot(page.parent) == before
    (inner / 'seed1').rename(inner / 'seed_1')
    with pytest.raises(UserError, match='seed_1: must be named seed0, seed1, …; rename it'):
        build(page)


def test_nothing_is_replaced_where_a_later_part_is_refused(study):
    page, _ = study
    build(page)
    gains = page.with_suffix('') / 'mine/gains/gains.md'
    gains.write_text('kept', encoding='utf-8')
    text = page.read_text(encoding='utf-8') + '\n<!-- from mine/gains/gains.md, table 9 -->\n'
    page.write_text(text, encoding='utf-8')
    before = snapshot(page.parent)
    with pytest.raises(UserError, match='no such table'):
        build(page)
    assert snapshot(page.parent) == before


@pytest.mark.parametrize('newline', ['\n', '\r\n'])
def test_a_table_at_the_end_of_the_page_is_replaced_whole(study, newline):
    page, _ = study
    for end in (MARK, f'{MARK}\n\n| a | b |\n|---|---|\n| old | 777 |'):
        page.write_bytes(f'# Page\n\n{end}'.replace('\n', newline).encode())
        build(page)
        text = page.read_bytes().decode()
        assert '777' not in text
        assert '| images | p = 0.3 |' in text
        assert text.count(newline) == text.count('\n')


def test_what_the_studies_lack_is_said(study, tmp_path):
    page, _ = study
    sets = open_sets([f'images={tmp_path / "images"}'], ['clean', 'blur'], [], [], [], 4, 0)
    evaluate([network(tmp_path, 0, 1)], sets, tmp_path / 'page/mine/at_6_more', Settings(strips=0))
    assert build(page)[1] == ['mine: not there: p = 0.3, seed 1, iteration 6, params']


def test_a_study_whose_evaluations_are_gone_is_refused(study):
    page, _ = study
    build(page)
    folder = page.with_suffix('')
    (folder / 'other/gains').mkdir(parents=True)
    with pytest.raises(UserError, match='other: holds no at_'):
        build(page)


def test_seeds_stand_beside_their_mean(study, tmp_path):
    page, both = study
    folder = page.with_suffix('') / 'mine/inside'
    look_into(both, folder / 'seed0')
    look_into([network(tmp_path, p, 1) for p in (0, 0.3)], folder / 'seed1')
    text = (inside.gather(folder) / 'inside.md').read_text(encoding='utf-8')
    head, _, *rows = [line.strip('| ').split(' | ') for line in text.splitlines()]
    assert [row[:2] for row in rows] == [[p, seed] for p in ('0', '0.3') for seed in ('0', '1', 'mean')]
    for first, second, mean in (rows[:3], rows[3:]):
        assert first[2:] != second[2:]
        for column in (head.index(name) for name in ('PSNR, dB', 'Gini of drops', 'CHI (PCA)')):
            assert float(mean[column]) == pytest.approx((float(first[column]) + float(second[column])) / 2, abs=0.011)


def test_networks_without_clusters_are_called_by_their_labels(study, tmp_path):
    _, (_, other) = study
    selection = ImageSelection(str(tmp_path / 'images'), 'clean', 1, 8)
    folder = tmp_path / 'inside'
    for seed in (0, 1):
        released = other if seed else network(tmp_path, 0.3, 1)
        content = torch.load(released.path, weights_only=True)
        content.pop('trained')  # as in files of other programs
        torch.save(content, tmp_path / f'released{seed}.pth')
        networks = [dataclasses.replace(open_network(path), label=label) for label, path in (
            ('start', tmp_path / f'released{seed}.pth'), ('p = 0', network(tmp_path, 0, seed).path))]
        pairs = load_pairs(selection, networks)
        ablation.run(selection, pairs, ['last'], AblationPlan(random_orders=1), networks,
                     folder / f'seed{seed}/ablation')
        saliency.run(selection, pairs, ['last'], networks, folder / f'seed{seed}/saliency', correlate=False, sheets=0)
    inside.gather(folder)
    head, _, *rows = [line.strip('| ').split(' | ')
                      for line in (folder / 'inside.md').read_text(encoding='utf-8').splitlines()]
    assert head[0] == 'network'
    assert 'CHI (PCA)' not in head
    assert [row[:2] for row in rows] == [[name, seed] for name in ('start', 'p = 0') for seed in ('0', '1', 'mean')]
    assert {path.name for path in folder.iterdir()} == {'seed0', 'seed1', 'inside.md', 'in_turn.png'}
    summary = json.loads((folder / 'seed1/ablation/summary.json').read_text(encoding='utf-8'))
    for one in (*summary['settings']['networks'], *summary['models']):
        one['label'] = one['label'].replace('start', 'begin')
    (folder / 'seed1/ablation/summary.json').write_text(json.dumps(summary), encoding='utf-8')
    with pytest.raises(UserError, match=r'is about begin, p = 0, but .* about start, p = 0; give the same'):
        inside.gather(folder)


def test_curves_keep_their_order_and_may_be_absent(tmp_path):
    path, head = tmp_path / 'in_turn.csv', 'image,layer,order,removed,psnr_db,drop_db\n'
    path.write_text(head, encoding='utf-8')
    assert len(inside._curves(path, 'last', 1)) == 0
    rows = [f'{image},last,{order},{removed},{30 - removed},{removed}\n'
            for order in ('random:0', 'index') for image in ('NA', 'b') for removed in (0, 1)]
    path.write_text(head + ''.join(rows), encoding='utf-8')
    curves = inside._curves(path, 'last', 1)
    assert list(curves.index) == [('random:0', 'NA'), ('random:0', 'b'), ('index', 'NA'), ('index', 'b')]
    assert (curves.to_numpy() == [30, 29]).all()
    path.write_text(head + ''.join(rows) + 'a,b,c,d,e,f,g,h\n', encoding='utf-8')
    with pytest.raises(UserError, match=r'is not as .* writes it') as caught:
        inside._curves(path, 'last', 1)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(('value', 'text'), [(12.34, '12.3'), (0, '0.0'), (3.8e-4, '0.00038'), (None, '–')])
def test_small_values_do_not_become_zeros(value, text):
    assert inside._text(value, 1) == text


@pytest.mark.parametrize(('mark', 'reason'), [
    ('<!-- from mine/gains/gains.md, table 9 -->', 'there is no such table'),
    ('<!-- from mine/none.md, table 1 -->', 'there is no such table'),
    ("<!-- from mine/gains/gains.md, table 1, rows with 'p = 0.9' -->", 'no row of that table'),
    ("<!-- from mine/gains/gains.md, table 1, rows with 'images', rows without 'p = 0.3' -->", 'no row of that table'),
    ('<!-- from mine/gains/gains.md, table x -->', 'table x -->; write marks like'),
    ('  <!--from mine/gains/gains.md, table 1 -->', 'table 1 -->; write marks like'),
    ('text alone', 'holds no mark of a table'),
])
def test_tables_that_are_not_there_are_refused(study, mark, reason):
    page, _ = study
    page.write_text(f'{mark}\n', encoding='utf-8')
    with pytest.raises(UserError, match=reason):
        build(page)
    assert page.read_text(encoding='utf-8') == f'{mark}\n'


def test_a_page_without_studies_is_refused(tmp_path):
    with pytest.raises(UserError, match='cannot be read'):
        build(tmp_path / 'none.md')
    (tmp_path / 'page.md').write_text('# Page\n', encoding='utf-8')
    with pytest.raises(UserError, match='holds no STUDY/at_'):
        build(tmp_path / 'page.md')


def test_folders_that_hold_something_else_are_left_alone(study):
    page, _ = study
    other = page.with_suffix('') / 'mine/gains'
    other.mkdir()
    (other / 'notes.txt').write_text('mine')
    with pytest.raises(UserError, match='holds other files than'):
        build(page)
    assert (other / 'notes.txt').read_text() == 'mine'
    (other / 'notes.txt').unlink()
    other.rmdir()
    (page.with_suffix('') / 'mine/inside/seed0').mkdir(parents=True)
    with pytest.raises(UserError, match=r'holds no results; give result folders of tools/ablate_channels\.py'):
        build(page)
    (page.with_suffix('') / 'mine/inside/seed0').rmdir()
    with pytest.raises(UserError, match='inside: holds no seed'):
        build(page)
