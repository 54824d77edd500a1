"""The command ``upscale``: upscale an image or a folder of images."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from reflash_sr.commands.arguments import add_device_arguments, add_network_arguments, open_device, open_network_of
from reflash_sr.data.images.image_with_metadata import (
    FORMATS,
    FullImage,
    bytes_to_write,
    check_format,
    read_full_image,
    write_strips,
)
from reflash_sr.data.images.read_image import find_images
from reflash_sr.errors import RunError, UserError
from reflash_sr.evaluation.mc_dropout import has_dropout
from reflash_sr.evaluation.tiled_inference import OVERLAP, Restorer
from reflash_sr.evaluation.upscale_image import fill_transparent, upscale_image, upscale_strips
from reflash_sr.figures.draw_std_map import draw_deviation
from reflash_sr.options.registry import load_plugins
from reflash_sr.system.devices import is_out_of_memory
from reflash_sr.system.files import atomic_write, relative
from reflash_sr.system.memory import free_on_machine
from reflash_sr.system.run_command import run_command

LONGEST_NAME = 255  # bytes
MC_BYTES = 90  # of memory per pixel of the result
EXTENSIONS = ('auto', 'png', 'jpg', 'tif', 'webp')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool with command-line arguments. Default: those of the process. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description='Upscale an image, or a folder of images. Transparency, 16-bit depth, greyscale, colour profile '
        'and EXIF data are kept. After an interruption, repeat the command to continue.')
    parser.add_argument('--input', '-i', required=True, metavar='PATH',
                        help='an image, or a folder with its subfolders')
    parser.add_argument('--output', '-o', required=True, metavar='DIR', help='folder for the results')
    parser.add_argument('--suffix', default='out', metavar='TEXT',
                        help="suffix of the results: NAME_out.png; '' for none (default: out)")
    parser.add_argument('--ext', choices=EXTENSIONS, default='auto',
                        help='format of the results (default: that of the image; PNG for BMP, GIF and others)')
    parser.add_argument('--overwrite', action='store_true', help='redo results that exist; else they are skipped')
    parser.add_argument('--tile', '-t', type=int, metavar='PX',
                        help='side of a tile of the input image, to save memory; 0: no tiles (default: tiles only if '
                        'memory is too small)')
    parser.add_argument('--overlap', type=int, default=OVERLAP, metavar='PX',
                        help=f'context around a tile, px of the input image (default: {OVERLAP})')
    parser.add_argument('--mc', type=int, default=0, metavar='N',
                        help='MC dropout: write the mean of N passes with dropout on, and maps of their standard '
                        'deviation (NAME_out_std.png, .npy)')
    parser.add_argument('--seed', type=int, default=0, metavar='N', help='seed of MC dropout (default: 0)')
    add_device_arguments(parser)
    add_network_arguments(parser, several=False)
    args = parser.parse_args(argv)
    load_plugins()
    return run_command(lambda: run(args), 'upscale')


def run(args: argparse.Namespace) -> None:
    """Run the command with parsed arguments; raises ``UserError``."""
    for name, value in (('tile', args.tile or 0), ('overlap', args.overlap), ('mc', args.mc)):
        if value < 0:
            raise UserError(f'--{name}: {value} is out of range; write 0 or more')
    if args.mc == 1:
        raise UserError('--mc: one pass has no standard deviation; write 2 or more')
    jobs = plan(args.input, args.output, args.suffix, args.ext, deviations=args.mc > 0)
    network = open_network_of(args)
    if args.mc and not has_dropout(network.net):
        raise UserError(f'--mc: {network.path}: {network.kind} has no dropout with p > 0; add it with '
                        '--arch WithDropout:dropout_p=0.5, or give a network with dropout')
    restorer = Restorer(network.net, network.scale, network.multiple, open_device(args), bool(args.amp), args.tile,
                        args.overlap, network.channels)
    summary = upscale(jobs, restorer, args.output, args.overwrite, args.mc, args.seed)
    if len(jobs) == 1 and summary.broken:
        raise UserError(summary.broken[0])
    print(summary)
    if network.shows_tiles and (args.tile or restorer.forced_tile):
        print(f'note: {network.label}: spandrel discourages tiles for this network; look for their borders, or give '
              '--tile 0', file=sys.stderr)
    if summary.broken:
        print('\n'.join(summary.broken), file=sys.stderr)
        raise UserError(f'{len(summary.broken)} of {len(jobs)} images could not be upscaled')


@dataclass(frozen=True)
class Job:
    """One image to upscale."""

    source: Path
    target: Path  # the upscaled image

    @property
    def deviation(self) -> tuple[Path, Path]:
        """Files for the standard deviations of MC dropout: numbers (.npy) and map (.png)."""
        stem = f'{self.target.stem}_std'
        return self.target.with_name(f'{stem}.npy'), self.target.with_name(f'{stem}.png')


@dataclass
class Summary:
    """Result of :func:`upscale`; ``broken`` has a line for each image that could not be upscaled."""

    output: Path
    written: int = 0
    skipped: int = 0
    broken: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        skipped = f', skipped {self.skipped} that exist (--overwrite redoes them)' if self.skipped else ''
        failed = f', failed {len(self.broken)}' if self.broken else ''
        return f'upscaled {self.written}{skipped}{failed}; in {relative(self.output)}'


def plan(source: str | os.PathLike, output: str | os.PathLike, suffix: str = 'out', ext: str = 'auto',
         deviations: bool = False) -> list[Job]:
    """Find the images to upscale and the paths of their results; nothing is written.

    If images of a folder differ only in their extension and would have the same result, the extension becomes part of
    the name: ``a.bmp`` and ``a.png`` become ``a_bmp_out.png`` and ``a_png_out.png``.

    Args:
        source: An image, or a folder. Subfolders are searched too, except ``output``.
        output: Folder for the results; has the same subfolders as ``source``.
        suffix: Added to the name after a ``_``; may be empty.
        ext: Format, one of ``EXTENSIONS``; ``auto``: that of the image, or PNG if it cannot be written.
        deviations: Whether maps of standard deviations are written too.

    Raises:
        UserError: No images, two results with the same name, or a result that would replace an image.
    """
    source, output = Path(source).expanduser(), Path(output).expanduser()
    if any(separator and separator in suffix for separator in (os.sep, os.altsep, '/', '\0')):
        raise UserError(f"--suffix: '{suffix}' cannot be part of a file name; write it without slashes")
    if source.is_dir():
        inside = output.resolve()
        if source.resolve() == inside:
            raise UserError(f'--output: {output} is the input folder; results would be input the next time; '
                            'name another')
        root, images = source, [path for path in find_images(source)[0] if inside not in path.resolve().parents]
        if not images:
            raise UserError(f'{source}: no image in this folder except in {output}, the folder for results')
    elif source.exists():
        root, images = source.parent, [source]
    else:
        raise UserError(f'{source}: no such image or folder')

    def job(path: Path, long: bool) -> Job:
        ending = path.suffix.lower()
        target = (ending if ending in FORMATS else '.png') if ext == 'auto' else f'.{ext}'
        stem = f'{path.stem}_{ending[1:]}' if long else path.stem
        return Job(path, output / path.parent.relative_to(root) / f"{stem}{'_' if suffix else ''}{suffix}{target}")

    often = Counter(job(path, False).target for path in images)
    jobs = [job(path, often[job(path, False).target] > 1) for path in images]
    _check_targets(jobs, deviations)
    return jobs


def _check_targets(jobs: Sequence[Job], deviations: bool) -> None:
    sources = {job.source.resolve() for job in jobs}
    taken: dict[Path, Path] = {}
    for job in jobs:
        for target in (job.target, *(job.deviation if deviations else ())):
            length = len(os.fsencode(target.name))
            if length > LONGEST_NAME:
                raise UserError(f'{job.source}: the name of its result would have {length} bytes, more than the '
                                f'{LONGEST_NAME} of most file systems; rename it, or write a shorter --suffix')
            if target.resolve() in sources:
                raise UserError(f'{job.source}: its result would replace {target}, an image to upscale; '
                                'write another --output or --suffix')
            if target in taken:
                raise UserError(f'{taken[target]} and {job.source} would both become {target}; rename one of them')
            taken[target] = job.source


def upscale(jobs: Sequence[Job], restorer: Restorer, output: str | os.PathLike, overwrite: bool = False,
            passes: int = 0, seed: int = 0) -> Summary:
    """Upscale images, with a progress bar; an image that cannot be read does not stop the others.

    Args:
        jobs: From :func:`plan`.
        output: The folder of the plan; created if it does not exist.
        overwrite: Whether to redo results that exist; otherwise they are skipped.
        passes: Number of passes of MC dropout; 0: dropout is off.
        seed: Seed of MC dropout.

    Returns:
        Counts, and a line for each image that could not be upscaled.

    Raises:
        UserError: The folder cannot be written.
        RunError: A result cannot be written, for instance because the disk is full.
    """
    output = Path(output).expanduser()
    existed = output.exists()
    try:
        output.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=output).close()
    except OSError as error:
        raise UserError(f'--output: {output}: cannot be written ({error.strerror}); name another folder') from error
    summary = Summary(output)
    results = {job.target for job in jobs}
    for job in tqdm(jobs, desc='Upscaling', unit='image', disable=None):
        try:
            if not overwrite and _is_done(job, passes > 0, results):
                summary.skipped += 1
                continue
            notes = _upscale_file(job, restorer, passes, seed, results)
            summary.written += 1
            for note in notes:
                tqdm.write(f'note: {job.source}: {note}', file=sys.stderr)
        except RunError:
            raise
        except UserError as error:
            summary.broken.append(str(error))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            summary.broken.append(f'{job.source}: not enough memory; try --tile 256, or less')
    if not (existed or summary.written):
        with contextlib.suppress(OSError):  # not empty
            output.rmdir()
    return summary


def _has_deviations(job: Job, results: Collection[Path]) -> bool:
    """Whether both files exist, and neither is the result of another image."""
    return all(os.path.exists(path) and path not in results for path in job.deviation)


def _is_done(job: Job, deviations: bool, results: Collection[Path]) -> bool:
    if job.target.exists() and _has_deviations(job, results) != deviations:
        made = 'exists without standard deviations, as if made without' if deviations else (
            'exists with standard deviations, as if made with')
        raise UserError(f'{job.source}: {job.target} {made} --mc; write another --output, or --overwrite')
    return job.target.exists()


def _upscale_file(job: Job, restorer: Restorer, passes: int, seed: int, results: Collection[Path]) -> tuple[str, ...]:
    """Upscale one image and write it, its standard deviations first; returns notes for the user.

    Without MC dropout, standard deviations of an earlier run are removed, but never a file in ``results`` (the results
    of all images).
    """
    try:
        image = fill_transparent(read_full_image(job.source))
        height, width = (side * restorer.scale for side in image.colour.shape[:2])
        check_format(job.target.suffix, height, width, depth=image.depth)
        _check_memory(image, job.target.suffix, height, width, passes)
        strips, deviation = upscale_strips(image, restorer), None
        if passes:
            result, deviation = upscale_image(image, restorer, passes, seed, job.source.name)
            strips = iter([(result.colour, result.alpha)])
        if deviation is not None:
            numbers, drawn = job.deviation
            with atomic_write(numbers) as file:
                np.save(file, deviation)
            with atomic_write(drawn) as file:
                draw_deviation(deviation).save(file, 'PNG')
        with atomic_write(job.target) as file:
            lost = write_strips(image, strips, (height, width), file, job.target.suffix)
            if deviation is None and _has_deviations(job, results):
                for path in job.deviation:
                    path.unlink()
    except UserError as error:
        named = str(error).startswith(str(job.source))
        raise UserError(str(error) if named else f'{job.source}: {error}') from error
    except OSError as error:
        raise RunError(f'{job.target}: cannot be written ({error.strerror or error})') from error
    except ValueError as error:
        raise UserError(f'{job.source}: cannot be written as {job.target.suffix} ({error}); write --ext png') from error
    return (*image.notes, *lost)


def _check_memory(image: FullImage, ending: str, height: int, width: int, passes: int) -> None:
    """Refuse a result that would not fit into memory, before the system ends the process for it."""
    needed = bytes_to_write(image, ending, height, width) + (height * width * MC_BYTES if passes else 0)
    free = free_on_machine()
    if free is not None and needed > free:
        less = 'leave out --mc' if passes else 'write --ext png, which needs less' if ending != '.png' else (
            'end other programs')
        raise UserError(f'a result of {width}×{height} px as {ending}{" with --mc" if passes else ""} needs '
                        f'{needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free; {less}')
