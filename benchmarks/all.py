"""Every benchmark, within a time budget: python benchmarks/all.py --minutes 8

Ends in one Markdown table (this machine, ours, the usual way, their ratio, and the share of the machine's limit that
ours reaches), and a JSON file with everything that was measured. A benchmark that does not fit into what is left of the
time is ended, and its rows say so. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from reflash_sr.archs import DropoutMSRResNet
from reflash_sr.system.devices import has_bf16
from reflash_sr.system.files import atomic_write
from reflash_sr.system.result_folder import versions

HERE = Path(__file__).parent
SPARE = 20.0  # seconds for the start and the table
VERSIONS = ('torch', 'numpy', 'opencv-python', 'basicsr', 'reflash-sr')
Values = Mapping[str, float]


@dataclass(frozen=True)
class Job:
    """A benchmark: its part of the time, and its arguments for a number of minutes and a kind of device."""

    script: str
    part: float
    arguments: Callable[[int, str], list[object]]


JOBS = [
    Job('train_step', 0.34, lambda m, d: ['--device', d, '--rounds', max(1, m // 8), '--steps', 4, '--workers',
                                          2 if d == 'cpu' else min(12, os.cpu_count() or 2)]),
    Job('data_speed', 0.07, lambda m, d: ['--samples', 12 * m, '--rounds', 2]),
    Job('update_weights', 0.03, lambda m, d: ['--device', d, '--rounds', m]),
    Job('ablation', 0.14, lambda m, d: ['--device', d, '--rounds', max(1, m // 8), '--size', 48,
                                        '--all_size', 24 if d == 'cpu' else 72, '--every', 32, '--skip', 'replay']),
    Job('evaluate', 0.12, lambda m, d: ['--device', d, '--rounds', max(1, m // 8), '--gt', 'photos:val',
                                        '--degradations', 'all']),
    Job('clusters', 0.16, lambda m, d: ['--device', d, '--rounds', 1, '--samples', 5 * m]),
    Job('dropout_overhead', 0.08, lambda m, d: ['--device', d, '--steps', max(3, m // 3)]),
    Job('scaling', 0.08, lambda m, d: ['--device', d, '--rounds', max(1, m // 8), '--samples', 2048]),
    Job('checkpoint_cost', 0.03, lambda m, d: ['--device', d, '--rounds', max(3, m // 2)]),
]


@dataclass(frozen=True)
class Row:
    """A row of the table: names of values in a benchmark's output, and what the machine's limit is."""

    what: str
    script: str
    ours: str
    plain: str
    unit: str = 's'
    limit: Callable[[Values, Values], float] | None = None  # of a script's values and the machine's, in the unit


def step_limit(dtype: str) -> Callable[[Values, Values], float]:
    """Seconds that the multiplications of a training step take at the speed of a matrix product."""
    return lambda found, machine: machine['step_gflop'] / machine[f'matmul_{dtype}_gflops']


ROWS = [
    Row('training step, float32', 'train_step', 'ours_float32_step_s', 'stock_step_s', 's', step_limit('float32')),
    Row('the same; stock with separable USM', 'train_step', 'ours_float32_step_s', 'stock_separable_usm_step_s'),
    Row('training step, bf16', 'train_step', 'ours_bf16_step_s', 'stock_step_s', 's', step_limit('bfloat16')),
    Row('samples, one core; usual: decoding PNG', 'data_speed', 'degraded_raw_per_second', 'degraded_per_second', '/s'),
    Row('samples, LQ there; usual: degraded', 'data_speed', 'cached_raw_per_second', 'degraded_per_second', '/s'),
    Row('the same, GT not sharpened', 'data_speed', 'cached_raw_no_usm_per_second', 'degraded_no_usm_per_second', '/s'),
    Row('Adam and EMA, RRDB 64×23', 'update_weights', 'ours_ms', 'stock_ms', 'ms',
        lambda found, machine: 10 * found['megabytes'] / machine['copy_gb_per_s']),
    Row('ablation, 64 channels of `last`', 'ablation', 'closed_single_s', 'plain_single_s', 's',
        lambda found, machine: found['forward_s']),
    Row('the same, pixel shuffle at the end (RFDN-like)', 'ablation', 'rfdn_like_closed_single_s',
        'rfdn_like_plain_single_s', 's', lambda found, machine: found['rfdn_like_forward_s']),
    Row('ablation of all layers', 'ablation', 'all_layers_s', 'plain_all_layers_s'),
    Row('saliency of all layers', 'ablation', 'saliency_s', 'plain_saliency_s'),
    Row('evaluation, float32', 'evaluate', 'ours_float32_s', 'stock_s', 's',
        lambda found, machine: found['ours_float32_s'] * (1 - found['ours_float32_outside_the_network'])),
    Row('evaluation, bf16', 'evaluate', 'ours_bf16_s', 'stock_s'),
    Row('SSIM of 512×512 px', 'evaluate', 'ssim_ours_s', 'ssim_stock_s'),
    Row('features and PCA for clusters, float32', 'clusters', 'ours_float32_total_s', 'plain_total_s'),
    Row('step of the network; usual: in two processes', 'scaling', 'processes_1_step_s', 'processes_2_step_s'),
    Row('step with dropout; usual: without', 'dropout_overhead', 'last_conv_channel_step_s', 'none_step_s'),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--minutes', type=int, default=8, help='for everything (default: 8)')
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--out', default='results/benchmarks', metavar='DIR', help='(default: %(default)s)')
    args = parser.parse_args()
    end = time.monotonic() + 60 * args.minutes - SPARE
    machine, found, why = limits(args.device), {}, {}
    print(f"{args.device}: {machine['step_gflop']:.0f} GFLOP a step", flush=True)
    for place, job in enumerate(JOBS):
        left = end - time.monotonic()
        mine = left * job.part / sum(one.part for one in JOBS[place:])  # what earlier ones did not use is shared
        begin = time.monotonic()
        # It may take longer than its part, if the others, in half of theirs, still fit.
        found[job.script], why[job.script] = run(job, args.minutes, args.device, (left + mine) / 2)
        print(f'{job.script}: {time.monotonic() - begin:.0f} s of {mine:.0f} s{why[job.script]}', flush=True)
    table = markdown(machine, found, why, args.device)
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / 'table.md', 'w') as file:
        file.write(table)
    with atomic_write(folder / 'values.json', 'w') as file:
        json.dump({'device': args.device, 'minutes': args.minutes, 'machine': machine, 'values': found,
                   'about': about(args.device)}, file, indent=2)
    print(f"\n{table}\n{folder / 'values.json'}")


def run(job: Job, minutes: int, device: str, seconds: float) -> tuple[dict[str, float], str]:
    """Run a benchmark; returns its ``name: value`` lines, and why there are none."""
    command = [sys.executable, str(HERE / f'{job.script}.py'), *map(str, job.arguments(minutes, device))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                               start_new_session=True)
    try:
        said, _ = process.communicate(timeout=max(seconds, 1))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return {}, '; ended: there was no more time'
    if process.returncode:
        return {}, f'; failed with exit status {process.returncode}: {" ".join(command)}'
    values = {}
    for line in said.splitlines():
        name, colon, value = line.partition(': ')
        if colon and ' ' not in name:
            try:
                values[name] = float(value)
            except ValueError:
                continue
    return values, ''


def limits(device: str) -> dict[str, float]:
    """Speed of a matrix product and of a copy, and the multiplications of the paper's training step."""
    found = {}
    for dtype in ('float32', 'bfloat16'):
        if dtype == 'bfloat16' and not has_bf16(torch.device(device)):
            continue
        side = 2048 if device == 'cpu' else 8192
        a, b = (torch.rand(side, side, device=device, dtype=getattr(torch, dtype)) for _ in range(2))
        found[f'matmul_{dtype}_gflops'] = 2e-9 * side**3 / seconds_of(lambda a=a, b=b: a @ b, device)
    a = torch.rand(2**26 if device == 'cpu' else 2**28, device=device)
    b = torch.empty_like(a)
    found['copy_gb_per_s'] = 2e-9 * a.numel() * a.element_size() / seconds_of(lambda: b.copy_(a), device)
    with FlopCounterMode(display=False) as counter:
        DropoutMSRResNet(dropout_p=0)(torch.rand(16, 3, 32, 32)).mean().backward()
    found['step_gflop'] = counter.get_total_flops() / 1e9
    return found


def seconds_of(work: Callable[[], object], device: str) -> float:
    """Median of nine runs, after one."""
    values = []
    for _ in range(10):
        begin = time.perf_counter()
        work()
        if device == 'cuda':
            torch.cuda.synchronize()
        values.append(time.perf_counter() - begin)
    return statistics.median(values[1:])


def about(device: str) -> dict[str, str]:
    """Machine and versions."""
    name = platform.processor() or platform.machine()
    info = Path('/proc/cpuinfo')
    if info.is_file():
        lines = (line.partition(':') for line in info.read_text().splitlines())
        name = next((value.strip() for key, _, value in lines if key.strip() == 'model name'), name)
    found = {'cpu': name, 'cores': str(len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity')
                                       else os.cpu_count()), 'python': platform.python_version()}
    if device == 'cuda':
        found['gpu'] = torch.cuda.get_device_name()
    known = versions()  # None for a package that is there under another name, such as opencv-python-headless
    return found | {package: known.get(package) or 'unknown' for package in VERSIONS}


def markdown(machine: Values, found: Mapping[str, Values], why: Mapping[str, str], device: str) -> str:
    """The table, and above it the machine."""
    facts = about(device)
    speeds = [f'{name.split("_")[1]} matrix product {value:,.0f} GFLOP/s'
              for name, value in machine.items() if name.startswith('matmul')]
    speeds.append(f"copying {machine['copy_gb_per_s']:.0f} GB/s")
    versions = ', '.join(f'{package} {facts[package]}' for package in VERSIONS)
    name = facts.get('gpu', facts['cpu'])
    lines = [f"{name}, {facts['cores']} cores; {', '.join(speeds)}; Python {facts['python']}, {versions}", '',
             '| | ours | the usual way | ratio | of the limit |', '|---|---:|---:|---:|---:|']
    for row in ROWS:
        values = found[row.script]
        if row.ours not in values or row.plain not in values:
            reason = why[row.script].removeprefix('; ') or 'this device has none'
            lines.append(f'| {row.what} | – | – | – | {reason} |')
            continue
        ours, plain = values[row.ours], values[row.plain]
        faster = ours / plain if row.unit == '/s' else plain / ours
        share = ''
        if row.limit is not None:
            share = f'{row.limit(values, machine) / ours:.0%}'
        cells = row.what, f'{number(ours)} {row.unit}', f'{number(plain)} {row.unit}', f'{faster:.2f}', share
        lines.append(f"| {' | '.join(cells)} |")
    return '\n'.join(lines) + '\n'


def number(value: float) -> str:
    """With three digits."""
    return f'{value:.3g}' if value < 1000 else f'{value:,.0f}'


if __name__ == '__main__':
    main()
