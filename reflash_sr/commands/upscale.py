"""Upscaling an image or a folder of images: which file becomes which, what is there already, what cannot be read."""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from reflash_sr.data.images.image_with_metadata import (
    FORMATS,
    FullImage,
    check_format,
    read_full_image,
    write_full_image,
)
from reflash_sr.data.images.read_image import find_images
from reflash_sr.errors import RunError, UserError
from reflash_sr.evaluation.inference import Restorer
from reflash_sr.evaluation.mc_dropout import mc_dropout
from reflash_sr.figures.draw_std_map import draw_deviation
from reflash_sr.system.devices import is_out_of_memory
from reflash_sr.system.files import atomic_write, relative

EXTENSIONS = ('auto', 'png', 'jpg', 'tif', 'webp')


@dataclass(frozen=True)
class Job:
    """One image to upscale.

    Attributes:
        source: The image.
        target: Where the upscaled one goes.
    """

    source: Path
    target: Path

    @property
    def deviation(self) -> tuple[Path, Path]:
        """Where the standard deviations of MC dropout go: as numbers and drawn."""
        return tuple(self.target.with_name(f'{self.target.stem}_std{ending}') for ending in ('.npy', '.png'))


@dataclass
class Summary:
    """What :func:`upscale` did; ``broken`` has a line for each image that could not be upscaled."""

    output: Path
    written: int = 0
    skipped: int = 0
    broken: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        skipped = f', skipped {self.skipped} that were there (--overwrite redoes them)' if self.skipped else ''
        failed = f', failed {len(self.broken)}' if self.broken else ''
        return f'upscaled {self.written}{skipped}{failed}; in {relative(self.output)}'


def plan(source: str | os.PathLike, output: str | os.PathLike, suffix: str = 'out', ext: str = 'auto',
         deviations: bool = False) -> list[Job]:
    """Say which images are upscaled, and where each goes; nothing is written.

    Images of one folder that differ in their ending alone, and would go to the same place, get it into their names:
    ``a.bmp`` and ``a.png`` become ``a_bmp_out.png`` and ``a_png_out.png``.

    Args:
        source: An image, or a folder, searched also in folders inside, but not in ``output``.
        output: Folder; folders inside ``source`` are made anew in it.
        suffix: Put behind the name, with a ``_``; may be empty.
        ext: Format, one of ``EXTENSIONS``; ``auto``: that of the image, PNG where we do not write that.
        deviations: Whether maps of standard deviations are written too.

    Raises:
        UserError: No images, names that cannot be told apart, or a result that would take an image's place.
    """
    source, output = Path(source).expanduser(), Path(output).expanduser()
    if any(one and one in suffix for one in (os.sep, os.altsep, '/', '\0')):
        raise UserError(f"--suffix: '{suffix}' is no part of a file's name; write it without slashes")
    if source.is_dir():
        if source.resolve() == output.resolve():
            raise UserError(f'--output: {output} is the input folder; results would be input the next time; '
                            'name another')
        inside = output.resolve()
        root, images = source, [path for path in find_images(source)[0] if inside not in path.resolve().parents]
        if not images:
            raise UserError(f'{source}: no image in this folder but in {output}, where results go')
    elif source.exists():
        root, images = source.parent, [source]
    else:
        raise UserError(f'{source}: no such image or folder')
    jobs = [_job(path, root, output, suffix, ext, False) for path in images]
    often = Counter(job.target for job in jobs)
    jobs = [job if often[job.target] == 1 else _job(job.source, root, output, suffix, ext, True) for job in jobs]
    _check_targets(jobs, deviations)
    return jobs


def _job(path: Path, root: Path, output: Path, suffix: str, ext: str, long: bool) -> Job:
    ending = path.suffix.lower()
    target = (ending if ending in FORMATS else '.png') if ext == 'auto' else f'.{ext}'
    stem = f'{path.stem}_{ending[1:]}' if long else path.stem
    return Job(path, output / path.parent.relative_to(root) / f"{stem}{'_' if suffix else ''}{suffix}{target}")


def _check_targets(jobs: Sequence[Job], deviations: bool) -> None:
    sources = {job.source.resolve() for job in jobs}
    taken: dict[Path, Path] = {}
    for job in jobs:
        for target in (job.target, *(job.deviation if deviations else ())):
            if target.resolve() in sources:
                raise UserError(f'{job.source}: its result would take the place of {target}, an image to upscale; '
                                'write another --output or --suffix')
            if target in taken:
                raise UserError(f'{taken[target]} and {job.source} would both become {target}; rename one of them')
            taken[target] = job.source


def upscale(jobs: Sequence[Job], restorer: Restorer, output: str | os.PathLike, overwrite: bool = False,
            passes: int = 0, seed: int = 0) -> Summary:
    """Upscale images, with a progress bar; an image that cannot be read does not keep the rest from it.

    Args:
        jobs: From :func:`plan`.
        restorer: The network.
        output: The folder of the plan; is made.
        overwrite: Whether results that are there are made anew; without, they are skipped.
        passes: Of MC dropout; 0: dropout is off.
        seed: Of MC dropout.

    Returns:
        Counts, and what could not be upscaled.

    Raises:
        UserError: The folder cannot be written.
        RunError: A result cannot be written, as where the disk is full.
    """
    output = Path(output).expanduser()
    check_writable(output)
    summary = Summary(output)
    results = {job.target for job in jobs}
    for job in tqdm(jobs, desc='Upscaling', unit='image', disable=None):
        try:
            if not overwrite and _is_done(job, passes > 0, results):
                summary.skipped += 1
                continue
            notes = upscale_file(job, restorer, passes, seed, results)
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
            summary.broken.append(f'{job.source}: not enough memory for it; try --tile 256, or less')
    return summary


def check_writable(folder: Path) -> None:
    """Make a folder, and refuse it where no file can be made in it; raises ``UserError``."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(f'--output: {folder}: cannot be written ({error.strerror}); name another folder') from error


def _has_deviations(job: Job, results: Collection[Path]) -> bool:
    """Whether both files are there, and neither is what another image becomes."""
    return all(path.exists() and path not in results for path in job.deviation)


def _is_done(job: Job, deviations: bool, results: Collection[Path]) -> bool:
    if job.target.exists() and _has_deviations(job, results) != deviations:
        made = 'is there, but not its standard deviations: made without' if deviations else (
            'has standard deviations beside it: made with')
        raise UserError(f'{job.source}: {job.target} {made} --mc? Write another --output, or --overwrite')
    return job.target.exists()


def upscale_file(job: Job, restorer: Restorer, passes: int = 0, seed: int = 0,
                 results: Collection[Path] = ()) -> tuple[str, ...]:
    """Upscale one image and write it, after its standard deviations where there are any; returns notes.

    Without MC dropout, standard deviations of an earlier run are taken away; ``results``, of all images, are not.

    Raises:
        UserError: The image cannot be read, or its result cannot be held by the format.
        RunError: The result cannot be written.
    """
    try:
        full = read_full_image(job.source)
        check_format(job.target.suffix, *(side * restorer.scale for side in full.colour.shape[:2]))
        result, deviation = upscale_image(full, restorer, passes, seed, job.source.name)
    except UserError as error:
        raise UserError(_named(str(error), job.source)) from error
    lost: tuple[str, ...] = ()
    try:
        if deviation is not None:
            numbers, drawn = job.deviation
            with atomic_write(numbers) as file:
                np.save(file, deviation)
            with atomic_write(drawn) as file:
                draw_deviation(deviation).save(file, 'PNG')
        elif _has_deviations(job, results):  # of an earlier run with MC dropout, which is being overwritten
            for path in job.deviation:
                path.unlink()
        with atomic_write(job.target) as file:
            lost = write_full_image(result, file, job.target.suffix)
    except OSError as error:
        raise RunError(f'{job.target}: cannot be written ({error.strerror or error})') from error
    except ValueError as error:
        raise UserError(f'{job.source}: cannot be written as {job.target.suffix} ({error}); write --ext png') from error
    return (*full.notes, *lost)


def upscale_image(full: FullImage, restorer: Restorer, passes: int = 0, seed: int = 0,
                    name: str = '') -> tuple[FullImage, np.ndarray | None]:
    """Upscale an image: colours by the network, transparency with Pillow's bicubic filter.

    Args:
        image: The image.
        restorer: The network.
        passes: Of MC dropout, at least 2; 0: dropout is off.
        seed: Of MC dropout, together with ``name``.
        name: Of the image.

    Returns:
        The upscaled image, and with MC dropout the standard deviations, (H, W) float32, grey levels of 255.

    Raises:
        UserError: The network gave values that are not finite.
    """
    lq = torch.from_numpy(np.ascontiguousarray(full.colour.transpose(2, 0, 1)))[None]
    deviation = None
    if passes:
        sr, std = mc_dropout(restorer, lq, passes, seed, name)
        deviation = std.cpu().numpy() * np.float32(255)
    else:
        sr = restorer(lq)
        if not sr.isfinite().all():
            raise UserError('the network gave values that are not finite; leave --amp away, or check the weights')
    colour = sr[0].clamp(0, 1).permute(1, 2, 0).cpu().numpy()
    alpha = full.alpha
    if alpha is not None:
        size = colour.shape[1::-1]
        alpha = np.asarray(Image.fromarray(alpha).resize(size, Image.Resampling.BICUBIC)).clip(0, 1)
    return replace(full, colour=colour, alpha=alpha), deviation


def _named(message: str, source: Path) -> str:
    return message if message.startswith(str(source)) else f'{source}: {message}'
