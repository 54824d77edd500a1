"""The jobs of a study, as processes of their own: killed and continued, and given to SLURM."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reflash_sr.errors import UserError
from reflash_sr.studies import grid
from reflash_sr.studies import jobs as study_jobs
from tests.studies.test_grid import table

pytestmark = pytest.mark.usefixtures('in_tmp_path')

TOOL = Path(__file__).parents[2] / 'tools' / 'sweep_dropout.py'


@pytest.mark.parametrize('engine', ['local', 'debug'])
def test_parameters_of_a_cluster(tmp_path, engine):
    pytest.importorskip('submitit')
    executor = study_jobs.make_executor(tmp_path, engine, 2, {'timeout_min': 60, 'slurm_partition': 'gpu'})
    assert executor._executor.parameters['timeout_min'] == (60 if engine == 'debug' else 60 * 24 * 365)


def test_windows_is_named(tmp_path, monkeypatch):
    pytest.importorskip('submitit')
    monkeypatch.delattr(signal, 'SIGCONT')
    with pytest.raises(UserError, match='submitit, which runs the cells, does not run on Windows; start'):
        study_jobs.check_engine('local', {})


def run(*args, **env):
    return subprocess.run([sys.executable, TOOL, '--opt', 'grid.yml', *args], capture_output=True, text=True,
                          timeout=300, check=False, env={**os.environ, 'OMP_NUM_THREADS': '1', **env})


@pytest.mark.slow
def test_kill_and_continue_with_a_cell_that_fails(study_file, training_options):
    pytest.importorskip('submitit')
    train = {**training_options['train'], 'total_iter': 200}
    train['scheduler'] = {**train['scheduler'], 'periods': [200]}
    study_file({'dropout_p': [0.5], 'train:optim_g:lr': [1e-3, 1e30]}, {'with_p0': False}, train=train,
               val={**training_options['val'], 'val_freq': 100}, logger={'print_freq': 2, 'save_checkpoint_freq': 2})
    good = Path('experiments/tiny_p0.5_lr-0.001_seed3')
    killed = subprocess.Popen([sys.executable, TOOL, '--opt', 'grid.yml'], start_new_session=True,
                              env={**os.environ, 'OMP_NUM_THREADS': '1'}, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 600
        while not list(good.glob('training_states/*.state')) and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
    assert list(good.glob('training_states/*.state'))
    assert not (good / 'models/net_g_latest.pth').exists()

    done = run('--jobs', '2')
    assert done.returncode == 1
    assert '2 cells × 1 seed: 1 begun, 1 new' in done.stdout
    assert '1 of 2 experiments failed' in done.stderr
    assert 'tiny_p0.5_lr-1e+30_seed3: l_pix was not finite' in done.stderr
    assert 'Traceback' not in done.stderr
    assert {(row['cell'], row['iteration']) for row in table()} == {('p0.5_lr-0.001', '100'), ('p0.5_lr-0.001', '200')}
    logs = [path.read_text(encoding='utf-8') for path in sorted(good.glob('train_*.log'))]
    assert len(logs) == 2
    assert 'Resuming training' in logs[1]


@pytest.mark.slow
@pytest.mark.parametrize(('number', 'said'), [
    (signal.SIGUSR2, None),  # of submitit: it requeues the job
    (signal.SIGTERM, 'was stopped by SIGTERM and is saved; start the study again to continue'),  # of scancel
])
def test_a_job_that_is_stopped_is_saved_first(study_file, training_options, number, said):
    """Neither signal costs an iteration, however seldom checkpoints are."""
    pytest.importorskip('submitit')
    total = 400
    train = {**training_options['train'], 'total_iter': total}
    train['scheduler'] = {**train['scheduler'], 'periods': [total]}
    study_file({'dropout_p': [0.5]}, {'with_p0': False}, train=train,
               val={**training_options['val'], 'val_freq': total},
               logger={'print_freq': 1, 'save_checkpoint_freq': total})
    [cell] = grid.load('grid.yml', 1).cells
    job = study_jobs.make_executor(Path('results/tiny'), 'local', 1, {}).submit(
        study_jobs.CellJob(cell, Path('results/tiny'), {'OMP_NUM_THREADS': '1'}, wait=True))
    experiment, deadline = Path('experiments', cell.experiment), time.monotonic() + 300
    while not any('iter 3/' in path.read_text(encoding='utf-8') for path in experiment.glob('train_*.log')):
        assert time.monotonic() < deadline, job.stderr()
        time.sleep(0.01)
    [task] = Path(f'/proc/{job.job_id}/task/{job.job_id}/children').read_text().split()
    os.kill(int(task), number)
    assert job.result() == said, job.stderr()
    states = sorted(int(path.stem) for path in experiment.glob('training_states/*.state'))
    assert 3 <= states[0] < total
    logs = [path.read_text(encoding='utf-8') for path in sorted(experiment.glob('train_*.log'))]
    assert f'after iteration {states[0]:,}, which is saved' in logs[0]
    if said is None:
        assert f'iter: {states[0]}.' in logs[1]
        assert states[-1] == total


SLURM = {  # runs the jobs of an array at once, as a cluster would
    'sbatch': '''#!/bin/bash
cp "$1" script  # SLURM keeps a copy too: submitit renames its file as soon as this command has ended
array=$(sed -n 's/.*array=0-\\([0-9]*\\).*/\\1/p' script)
for i in $(seq 0 "$array"); do
    SLURM_JOB_ID=7 SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=$i SLURM_NTASKS=1 SLURM_PROCID=0 bash script >>log 2>&1 &
done
echo Submitted batch job 7''',
    'srun': '#!/bin/bash\nshift 5; exec "$@"',
    'sacct': '#!/bin/bash\necho "JobID|State|NodeList"; echo "7_0|RUNNING|a"; echo "7_1|RUNNING|a"',
}


@pytest.mark.slow
def test_slurm_gets_one_array_of_jobs(study_file):
    pytest.importorskip('submitit')
    for name, script in SLURM.items():
        path = Path('bin', name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(script, encoding='utf-8')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    study_file({'dropout_p': [0.5]}, {'cluster': {'slurm_partition': 'gpu', 'timeout_min': 30}})
    try:
        done = run('--engine', 'slurm', '--jobs', '2', PATH=f"{Path('bin').absolute()}:{os.environ['PATH']}")
    except subprocess.TimeoutExpired:
        pytest.fail(f"a job did not end: {Path('log').read_text(encoding='utf-8')}")
    assert done.returncode == 0, done.stderr
    assert {row['cell'] for row in table()} == {'p0', 'p0.5'}
    script = next(Path('results/tiny/jobs').glob('2*/*_submission.sh')).read_text(encoding='utf-8')
    for line in ('--array=0-1%2', '--partition=gpu', '--time=30', '--job-name=study'):
        assert f'#SBATCH {line}' in script
