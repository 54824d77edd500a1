"""A complete study: check every cell, run the unfinished cells, write the results."""

from __future__ import annotations

import datetime
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from basicsr.models import build_model
from torch.utils.data import default_collate

from reflash_sr.data.seeded_sampler import Draw
from reflash_sr.errors import RunError, UserError
from reflash_sr.options import check_options as option_checks
from reflash_sr.options import option_file as options
from reflash_sr.studies import check_cells as study_checks
from reflash_sr.studies import grid as study
from reflash_sr.studies import jobs as study_jobs
from reflash_sr.studies import results as study_results
from reflash_sr.system.devices import select_device
from reflash_sr.system.files import relative
from reflash_sr.training import preflight

START_SECONDS = 10  # start of a cell: imports, checks, workers
MEASURED_SECONDS = 2


def sweep(file: str, seeds: int = 1, engine: str = 'local', jobs: int = 1, rerun_changed: bool = False,
          dry_run: bool = False, force_yml: Sequence[str] = (), say: Callable[[str], None] = print) -> None:
    """Run a study: finished cells are skipped, interrupted cells continue.

    Args:
        file: An option file with a section ``study``.
        seeds: Repetitions with other initial weights, data order and masks.
        engine: ``'local'`` (this machine) or ``'slurm'``.
        jobs: Number of cells at the same time.
        rerun_changed: Whether to retrain cells whose options have changed; their old folders are renamed.
        dry_run: Whether to only list the cells and estimate the time.
        force_yml: Changes to the file, ``section:key=value`` each.
        say: Prints a line for the user.

    Raises:
        UserError: Something in the file is wrong, or the options of cells have changed; nothing was run.
        RunError: Some cells failed; the others were run, and the results are written.
    """
    if jobs < 1:
        raise UserError(f'--jobs: must be 1 or above, not {jobs}')
    grid = study.load(file, seeds, force_yml)
    study_checks.check(grid, here=engine != 'slurm')
    states = {cell.experiment: study.status(cell) for cell in grid.cells}
    changed = [cell for cell in grid.cells if states[cell.experiment] == 'changed']
    if changed and not rerun_changed:
        raise UserError(f'{file}: {len(changed)} of {len(grid.cells)} experiments were trained with other options: '
                        f'experiments/{changed[0].experiment}: {"; ".join(study.differences(changed[0])[:3])}. Give '
                        'the study another name, or add --rerun-changed, which retrains them and renames the earlier '
                        'folders to …_archived_…')
    cells = [cell for cell in grid.cells if states[cell.experiment] != 'finished']
    counts = ', '.join(f'{number} {state}' for state, number in Counter(states.values()).items())
    say(f'{grid.name}: {len(grid.cells) // seeds} cells × {seeds} {"seed" if seeds == 1 else "seeds"}: {counts}')
    if dry_run:
        for cell in grid.cells:
            done = [int(path.stem) for path in study.folder_of(cell).glob('training_states/*.state')
                    if path.stem.isdigit()]
            at = f' (iteration {max(done):,})' if states[cell.experiment] == 'begun' and done else ''
            say(f'  {cell.experiment}: {states[cell.experiment]}{at}')
        if cells:
            say(_estimate(cells, engine, jobs))
        return
    study_jobs.check_engine(engine, grid.cluster)
    folder = Path('results', grid.name)
    failed = _run(cells, folder, engine, jobs, grid, say) if cells else {}
    say(study_results.write(grid, folder, failed))
    say(f'Results: {relative(folder)}/table.csv, summary.json, curves.png, bars.png')
    if failed:
        raise RunError(f'{len(failed)} of {len(cells)} experiments failed; repeat the command to continue them: ' +
                       ' | '.join(f'{name}: {reason}' for name, reason in failed.items()))


def _run(cells: Sequence[study.Cell], folder: Path, engine: str, jobs: int, grid: study.Study,
         say: Callable[[str], None]) -> dict[str, str]:
    """Run cells; returns error messages by experiment."""
    at_once, start, failed = min(jobs, len(cells)), time.monotonic(), {}
    say(f'{at_once} at a time; logs: experiments/{grid.name}_*/train_*.log')
    for i, (cell, reason) in enumerate(study_jobs.run(cells, folder, engine, jobs, grid.cluster), 1):
        if reason is None and study.status(cell) != 'finished':
            reason = 'ended without its last validation'
        if reason is not None:
            failed[cell.experiment] = reason
        rounds, done = -(-len(cells) // at_once), -(-i // at_once)  # assumes that simultaneous cells end together
        left = (time.monotonic() - start) / done * (rounds - done)
        say(f'[{i}/{len(cells)}] {cell.experiment}: {"finished" if reason is None else f"FAILED: {reason}"}'
            f'{f", about {_time(left)} left" if i < len(cells) else ""}')
    return failed


def _estimate(cells: Sequence[study.Cell], engine: str, jobs: int) -> str:
    """Estimate the time of cells from a few steps with each network and training set, on this machine."""
    at_once = min(jobs, len(cells))
    threads = study_jobs.threads(at_once) if engine == 'local' else torch.get_num_threads()
    measured: list[tuple[dict[str, Any], tuple[float, float]]] = []
    times = []
    for cell in cells:
        kind = {key: value for key, value in cell.options.items() if key not in ('name', 'manual_seed', 'path')}
        kind['network_g'] = {key: value for key, value in kind['network_g'].items() if key not in study.DROPOUT}
        kind['train'] = {key: value for key, value in kind['train'].items() if key not in ('total_iter', 'scheduler')}
        if not any(kind == other for other, _ in measured):
            measured.append((kind, _measure(cell, threads)))
        iteration, validation = next(seconds for other, seconds in measured if other == kind)
        iterations = cell.options['train']['total_iter']
        validations = math.ceil(iterations / cell.options['val']['val_freq'])
        times.append(START_SECONDS + iterations * iteration + validations * validation)
    each = ' to '.join(_time(seconds) for seconds in sorted({min(times), max(times)}))
    where = 'on this machine' if engine == 'local' else 'if its machines are as fast as this one'
    return f'Estimated time: {_time(sum(times) / at_once)} with {at_once} at a time ({each} each), {where}'


def _measure(cell: study.Cell, threads: int) -> tuple[float, float]:
    """Measure the seconds of one iteration and of one validation of a cell."""
    opt = deepcopy(cell.options)
    option_checks.check(opt, cell.experiment, is_train=True)
    opt.update(dist=False, rank=0, world_size=1)
    options.expand(opt, os.curdir, is_train=True)
    device = select_device(opt)
    opt['device'], opt['num_gpu'] = device.type, int(device.type == 'cuda')
    torch.set_num_threads(threads)
    model = build_model(opt)
    datasets: dict[str, Any] = preflight.open_datasets(opt)
    train, section = datasets.pop('train'), opt['datasets']['train']
    size, workers = section['batch_size_per_gpu'], section.get('num_worker_per_gpu', 0)
    samples, loading = _timed(lambda i: train[Draw(i % len(train), i)], size)
    model.feed_data(default_collate((samples * size)[:size]))

    def step(i: int) -> None:
        model.optimize_parameters(i + 1)
        model.get_current_log()  # waits for the device

    step(0)
    _, stepping = _timed(step, 20)
    loading *= size / max(1, min(workers, threads if device.type == 'cpu' else workers))
    overlap = device.type != 'cpu' and workers > 0  # loading runs while the device computes
    per_iteration = max(stepping, loading) if overlap else stepping + loading
    validating = 0.0
    for dataset in datasets.values():

        def restore(i: int, dataset: Any = dataset) -> None:
            model.feed_data(default_collate([dataset[i]]))
            model.test()
            model.output.cpu()

        _, seconds = _timed(restore, len(dataset))
        validating += seconds * len(dataset)
    return per_iteration, validating


def _timed(work: Callable[[int], Any], most: int) -> tuple[list[Any], float]:
    """Call ``work`` up to ``most`` times, or for two seconds; returns its results and the mean seconds."""
    results: list[Any] = []
    start = time.perf_counter()
    while len(results) < most and (not results or time.perf_counter() - start < MEASURED_SECONDS):
        results.append(work(len(results)))
    return results, (time.perf_counter() - start) / len(results)


def _time(seconds: float) -> str:
    return str(datetime.timedelta(seconds=round(seconds)))
