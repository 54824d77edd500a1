"""The command ``evaluate``: how well networks generalise to degradations (paper Table 1)."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence

import torch

from reflash_sr.commands import arguments
from reflash_sr.commands.evaluation_folder import TOOL, EvaluationFolder
from reflash_sr.commands.write_evaluation import write_evaluation
from reflash_sr.data.images.read_image import depth_note, read_header
from reflash_sr.data.test_degradation.benchmark_sets import DegradedSet, PairedSet, open_sets
from reflash_sr.data.test_degradation.degradations import EIGHT
from reflash_sr.errors import RunError, UserError
from reflash_sr.evaluation.comparison import BICUBIC, Settings, baselines_of, check, check_images, method_of
from reflash_sr.evaluation.comparison_table import Grid, Method
from reflash_sr.evaluation.fit_shrinkage import HALVES, PHOTOS, SETS, Control, Fit
from reflash_sr.evaluation.measure_networks import measure_networks, restorers_of
from reflash_sr.evaluation.metrics import METRICS, of_control
from reflash_sr.evaluation.pairs import pair_notes
from reflash_sr.evaluation.seal import BEST, Lines
from reflash_sr.evaluation.shrunk_rows import shrunk_methods, without_moments
from reflash_sr.evaluation.tiled_inference import CPU, OVERLAP, to_tensor
from reflash_sr.options.registry import load_plugins
from reflash_sr.system import processes
from reflash_sr.system.run_command import run_command
from reflash_sr.weights.network_from_file import TrainedNetwork


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with arguments. Default: those of the process. Returns the exit status."""
    load_plugins()
    parser = argparse.ArgumentParser(
        description='Measure networks on test sets under degradations; writes scores, tables (CSV, Markdown, LaTeX) '
        'and figures. After an interruption, repeat the command to continue. With several processes: torchrun '
        '--nproc_per_node N tools/evaluate_degradations.py … --launcher pytorch.')
    arguments.add_network_arguments(parser)
    sets = parser.add_argument_group('test sets')
    sets.add_argument('--gt', nargs='+', default=[], metavar='[NAME=]DIR',
                      help='folders of GT images, which are degraded (photos:val: two photographs of this package)')
    sets.add_argument('--degradations', nargs='+', default=['all'], metavar='NAME',
                      help=f"all: the eight ({' '.join(EIGHT)}); nearest; other strengths such as blur:3 noise:30 "
                      'jpeg:30 b+n:10 down:bilinear down:matlab; drawn:7, a draw of the training degradation; the '
                      'authors used noise:40 before July 2024')
    sets.add_argument('--pairs', nargs=2, action='append', default=[], metavar=('LR', 'HR'),
                      help='folder of LQ images and folder of their GT images; can be given several times')
    sets.add_argument('--pair_names', nargs=2, action='append', default=[], metavar=('LR', 'HR'),
                      help="patterns of file names, for each --pairs: '{}x4m' '{}' for NTIRE 2018 mild (default: equal "
                      'names)')
    sets.add_argument('--pair_labels', nargs='+', default=[], metavar='TEXT', help='names for the --pairs')
    how = parser.add_argument_group('measuring')
    how.add_argument('--metrics', nargs='+', choices=list(METRICS),
                     help='default: psnr; with --control: psnr ssim gradient, and lpips where it is installed')
    how.add_argument('--crop_border', type=arguments.count, default=4, metavar='PX', help='default: 4')
    how.add_argument('--y_channel', action='store_true', help='measure on Y of YCbCr, not on RGB')
    how.add_argument('--baseline', nargs='+', default=[], metavar='LABEL=LABEL',
                     help='reference of the gains of a network: a network without dropout, or bicubic (default: the '
                     'network with p = 0 and weights of the same key, names and shapes that differs in dropout alone)')
    how.add_argument('--control', metavar='shrink[:ALPHA]',
                     help='add a row for each network drawn towards interpolation: interpolated + α (network - '
                     'interpolated), with the best α, or a given one (shrink:0.5); shows how much of a gain that is')
    how.add_argument('--fit_on', nargs='+', metavar='DIR',
                     help=f'images that α is fitted on, degraded as the test sets are: folders, {SETS} (the other test '
                     f'sets), or {HALVES} (the other half of a test set); never images that are measured with it '
                     f'(default: {PHOTOS}, photographs of this package)')
    how.add_argument('--acceptance', metavar='LABEL',
                     help='network, or bicubic, that should be reached under every degradation: adds the table of '
                     'SEAL, with the share of degradations under which it is; finished results are not measured again')
    how.add_argument('--excellence', default=BEST, metavar='LABEL',
                     help='network that --acceptance is far below, for the same table '
                     f'(default: {BEST}, the best method of each degradation)')
    how.add_argument('--tile', type=arguments.count, metavar='PX', help='side of a tile of the LQ image; 0: no tiles '
                     '(default: tiles only if memory is too small)')
    how.add_argument('--overlap', type=arguments.count, default=OVERLAP, metavar='PX',
                     help=f'context around a tile, px of the LQ image (default: {OVERLAP})')
    how.add_argument('--strips', type=arguments.count, default=1, metavar='N',
                     help='number of images of each test set whose crops are drawn (default: 1)')
    how.add_argument('--save_images', action='store_true', help='write every SR image')
    arguments.add_run_arguments(parser)
    arguments.add_launcher_argument(parser)
    args = parser.parse_args(argv)
    return run_command(lambda: _command(args), TOOL)


def _command(args: argparse.Namespace) -> None:
    if args.excellence != BEST and not args.acceptance:
        raise UserError('--excellence: needs the other line; give --acceptance LABEL too, such as bicubic')
    with arguments.launched(args, f'tools/{TOOL}.py'):
        networks = arguments.open_networks(args)
        datasets = open_sets(args.gt, args.degradations, args.pairs, args.pair_names, args.pair_labels,
                             networks[0].scale, args.seed)
        metrics = args.metrics or (of_control() if args.control else ('psnr',))
        settings = Settings(tuple(dict.fromkeys(metrics)), args.crop_border, args.y_channel, args.seed,
                            args.amp is not None, args.tile, args.overlap, args.strips, args.save_images)
        baselines = arguments.pairs_of(args.baseline, {BICUBIC, *(network.label for network in networks)}, '--baseline')
        text = evaluate(networks, datasets, args.out, settings, baselines, arguments.open_device(args), args.overwrite,
                        Control.parse(args.control, args.fit_on),
                        Lines(args.acceptance, args.excellence) if args.acceptance else None)
        if text:
            print(text)


def evaluate(networks: Sequence[TrainedNetwork],
             datasets: Sequence[DegradedSet | PairedSet],
             out: str | os.PathLike,
             settings: Settings | None = None,
             baselines: Mapping[str, str] | None = None,
             device: torch.device | None = None,
             overwrite: bool = False,
             control: Control | None = None,
             lines: Lines | None = None) -> str:
    """Measure networks on test sets, and write scores, tables and figures. Continues an interrupted run.

    Several processes take images, degradations and networks from a common queue; rank 0 writes the results.

    Args:
        networks: All of one scale; labels are unique.
        datasets: Test sets of the same scale; names are unique.
        settings: How to measure.
        baselines: Label of the network without dropout, by the label of the network with dropout. Default: see
            :func:`~reflash_sr.evaluation.comparison.baselines_of`.
        device: Where to run. Default: the CPU.
        overwrite: Whether to rename a folder with other results.
        control: The shrinkage control: adds rows of the networks drawn towards interpolation.
        lines: Adds the table of SEAL. They may change when results are repeated: nothing is measured again.

    Returns:
        The tables, as text to print; empty on ranks other than 0.

    Raises:
        UserError: Arguments contradict each other, or the folder holds another run.
        RunError: The results cannot be written.
    """
    settings, device = settings or Settings(), device or CPU
    check(networks, datasets)
    baselines = baselines_of(networks, baselines)
    if lines is not None:
        lines.check([BICUBIC, *(network.label for network in networks)])
    notes = pair_notes(networks, baselines)
    fit = None if control is None else Fit(control, networks, datasets, settings)

    def open_folder() -> EvaluationFolder:
        check_images(datasets, settings)
        if fit is not None:
            fit.check()
        return EvaluationFolder(out, networks, datasets, settings, device, overwrite,
                                None if fit is None else fit.described)

    folder = processes.on_rank_0(open_folder)
    for label in sorted(notes.keys() - baselines.keys()) if processes.rank() == 0 else ():
        folder.note(f'{label} is {notes[label]}')
    for dataset in datasets if processes.rank() == 0 else ():
        note = depth_note([read_header(path)[2] for place in range(len(dataset)) for path in dataset.files(place)])
        if note:
            folder.note(f'{dataset.name}: {note}, which PSNR, SSIM and LPIPS are measured on')
    rows = [] if fit is None else fit.run(device, folder)
    folder.add_rows(rows)
    scores = measure_networks(networks, datasets, settings, device, folder, rows)
    if processes.rank() > 0:
        return ''
    if settings.amp:
        one = datasets[0]
        lq = to_tensor(one.pair(0, one.degradations[0])[0])
        for label, restorer in restorers_of(networks, settings, device).items():
            folder.note(f'{label}: bfloat16 differs from float32 by {restorer.error_of_amp(lq):.3f} grey levels of 255 '
                        f'(root mean square; {one.names[0]}, {one.degradations[0]})')
    grid = Grid(without_moments(scores), settings.seed, str(settings))
    try:
        methods = [Method(BICUBIC), *(method_of(one, baselines, notes.get(one.label, '')) for one in networks)]
        return write_evaluation(folder, scores, grid, methods + shrunk_methods(rows, methods), rows, lines)
    except OSError as error:
        raise RunError(f'{folder}: results cannot be written ({error.strerror}); free disk space, then repeat the '
                       'command to continue') from error
