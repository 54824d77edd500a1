"""Several processes of one run: same result as one, stopping together, and none that waits for a dead one."""

import os
import pickle
import signal
import time
from pathlib import Path

import pytest
import torch

from reflash_sr.errors import RunError, UserError
from reflash_sr.system import processes
from tests import forked

pytestmark = pytest.mark.slow
TOTAL = 20


@pytest.fixture
def options(training_options):
    training_options['network_g']['dropout_p'] = 0  # masks are drawn by each process
    training_options['datasets']['train']['total_batch_size'] = 4
    training_options['datasets']['val']['degradations'] = ['clean']
    training_options['train']['total_iter'] = TOTAL
    training_options['train']['scheduler']['periods'] = [TOTAL]
    training_options['val'].update(val_freq=10, pbar=False)
    training_options['logger'].update(print_freq=4, save_checkpoint_freq=10)
    return training_options


def infinite(options):
    options['train']['total_iter'] = 10**6
    options['train']['scheduler']['periods'] = [10**6]
    options['logger']['save_checkpoint_freq'] = 5
    return options


def end(folder, processes, seconds=600):
    for process in processes:
        process.join(seconds)
    said = forked.printed(folder)
    assert not any(process.is_alive() for process in processes), said
    return [process.exitcode for process in processes], said


def assert_close(folder, other, iteration=TOTAL):
    one, two = (forked.outcome(one, iteration) for one in (folder, other))
    for key in ('network', 'ema'):
        for name, value in one[key].items():
            assert value.dtype == torch.float64
            torch.testing.assert_close(value, two[key][name], rtol=0, atol=1e-10)
    assert one['logged'] == two['logged']
    assert one[f'iter_{iteration}.csv'] == two[f'iter_{iteration}.csv']


@pytest.mark.parametrize('parts', [1, 2])
def test_two_train_what_one_trains_and_go_on_from_one(options, tmp_path, parts):
    options['train']['accumulate'] = parts
    folders = [forked.write(tmp_path / name, options) for name in ('one', 'two', 'one then two')]
    alone = [forked.start(folder, 'train', '-opt', 'run.yml', environment={'FLOAT64': '1'}) for folder in folders[::2]]
    assert [end(folder, [process])[0] for folder, process in zip(folders[::2], alone)] == [[0], [0]]
    status, said = end(folders[1], forked.start_ranks(folders[1], 2, FLOAT64='1'))
    assert status == [0, 0], said
    assert_close(folders[0], folders[1])
    run = folders[2] / 'experiments/tiny'
    for name in ('training_states/20.state', 'models/net_g_20.pth', 'validation/iter_20.csv'):
        (run / name).unlink()
    status, said = end(folders[2], forked.start_ranks(folders[2], 2, '--auto_resume', FLOAT64='1'))
    assert status == [0, 0], said
    assert_close(folders[0], folders[2])


def test_a_signal_to_one_stops_all_at_the_same_iteration(options, tmp_path):
    options['network_g']['dropout_p'] = 0.5
    options['train'].update(total_iter=40, scheduler={**options['train']['scheduler'], 'periods': [40]})
    folders = [forked.write(tmp_path / name, options) for name in ('left alone', 'stopped')]
    assert end(folders[0], forked.start_ranks(folders[0], 2))[0] == [0, 0]
    processes = forked.start_ranks(folders[1], 2, HOLD='feed_data')
    while all(p.is_alive() for p in processes) and not list(folders[1].rglob('10.state')):
        time.sleep(0.001)
    os.kill(processes[1].pid, signal.SIGTERM)
    forked.let_go(folders[1])
    status, said = end(folders[1], processes)
    assert status == [143, 143], said
    assert said.count('Stopped by SIGTERM after iteration') == 1
    status, said = end(folders[1], forked.start_ranks(folders[1], 2, '--auto_resume'))
    assert status == [0, 0], said
    forked.assert_same(*(forked.outcome(folder, 40) for folder in folders))


@pytest.mark.parametrize('dead', [0, 1])
def test_a_dead_process_ends_the_run(options, tmp_path, dead):
    folder = forked.write(tmp_path / 'dead', infinite(options))
    processes = forked.start_ranks(folder, 2)
    while all(p.is_alive() for p in processes) and not list(folder.glob('experiments/tiny/training_states/*.state')):
        time.sleep(0.001)
    processes[dead].kill()
    status, said = end(folder, processes)
    assert status[dead] == -signal.SIGKILL
    assert status[1 - dead] == 1, said
    assert 'another process of this run ended or does not answer' in said
    assert 'Traceback' not in said


@pytest.mark.parametrize(('cuda', 'backend'), [(True, 'nccl'), (False, 'gloo')])
def test_processes_talk_over_what_their_device_has(monkeypatch, cuda, backend):
    started = []
    monkeypatch.setenv('RANK', '0')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    monkeypatch.setattr(torch.cuda, 'set_device', lambda place: None)
    monkeypatch.setattr(torch.distributed, 'init_process_group', lambda backend, timeout: started.append(backend))
    processes.start('pytorch', cuda=cuda)
    assert started == [backend]


def test_slurm_has_no_timeout(monkeypatch):
    with pytest.raises(UserError, match='dist_params: timeout: is for --launcher pytorch alone'):
        processes.start('slurm', timeout=5)


@pytest.mark.parametrize(('error', 'of_others'), [
    (UserError('no such file'), (UserError, 'no such file')),
    (OSError(30, 'Read-only file system'), (RunError, 'process 0 of 2 ended with OSError: .* Read-only file')),
    (TypeError('x'), (RunError, 'process 0 of 2 ended with TypeError: x; see')),
])
def test_no_process_waits_for_a_first_one_that_failed(monkeypatch, error, of_others):
    """An error of any class reaches all; the first process keeps its own."""
    sent = []
    monkeypatch.setattr(torch.distributed, 'is_initialized', lambda: True)
    monkeypatch.setattr(torch.distributed, 'broadcast_object_list', lambda found, group: sent.append([*found]))
    monkeypatch.setattr(processes, 'world_size', lambda: 2)
    monkeypatch.setattr(processes, '_patient_group', lambda: None)

    def work():
        raise error

    monkeypatch.setattr(processes, 'rank', lambda: 0)
    with pytest.raises(type(error)) as caught:
        processes.on_rank_0(work)
    assert caught.value is error
    monkeypatch.setattr(processes, 'rank', lambda: 1)
    monkeypatch.setattr(torch.distributed, 'broadcast_object_list', lambda found, group: found.__setitem__(
        slice(None), pickle.loads(pickle.dumps(sent[0]))))
    kind, text = of_others
    with pytest.raises(kind, match=text):
        processes.on_rank_0(work)


def test_two_real_processes_end_at_once_when_the_first_fails(tmp_path):
    started = [forked.context.Process(target=_fail_first, args=(rank, str(tmp_path))) for rank in (0, 1)]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
    said = [(tmp_path / f'{rank}.txt').read_text(encoding='utf-8') for rank in (0, 1)]
    assert said == ["KeyError: 'lost'", "RunError: process 0 of 2 ended with KeyError: 'lost'; see what it said"]


def _fail_first(rank, folder):
    torch.distributed.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)

    def work():
        raise KeyError('lost')

    try:
        processes.on_rank_0(work)
    except Exception as error:
        Path(folder, f'{rank}.txt').write_text(f'{type(error).__name__}: {error}', encoding='utf-8')
