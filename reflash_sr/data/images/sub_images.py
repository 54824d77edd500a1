"""Cut photographs into overlapping sub-images, which a DataLoader reads faster than whole photographs."""

from __future__ import annotations

import itertools
import json
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from reflash_sr.data.images.image_source import unique_names
from reflash_sr.data.images.read_image import find_images, read_image
from reflash_sr.errors import UserError
from reflash_sr.system.files import atomic_write
from reflash_sr.system.signals import ignore_ctrl_c, workers_start
from reflash_sr.system.workers import check_start, named_ends

SHOWN = 5  # most names in a line of the summary
SETTINGS = 'sub_images.json'  # file in the output folder: size, step and threshold


@dataclass(frozen=True)
class Summary:
    """Result of :func:`cut_folder`; ``str()`` makes a text for the user."""

    cut: int  # photographs
    kept: int  # photographs that were cut before
    skipped: tuple[str, ...]  # a message for each skipped photograph
    output: str
    others: tuple[str, ...] = ()  # photographs of earlier runs that are not in the source now; sub-images are kept

    def __str__(self) -> str:
        text = f'photographs cut: {self.cut}, done before: {self.kept}; sub-images in {self.output}'
        text += ''.join(f'\nskipped: {reason}' for reason in self.skipped)
        if self.others:
            named = ', '.join(self.others[:SHOWN]) + (', …' if len(self.others) > SHOWN else '')
            text += (f'\nalso there: sub-images of {len(self.others)} photographs that are not in the input now '
                     f'({named}); delete NAME_s*.png and .NAME.done of those that are not to be trained on')
        return text


def starts(side: int, size: int, step: int, threshold: int = 0) -> list[int]:
    """First pixels of the sub-images along one side of a photograph.

    ``side`` is at least ``size``. If more than ``threshold`` px remain at the border, one more sub-image ends there.
    """
    places = list(range(0, side - size + 1, step))
    if side - (places[-1] + size) > threshold:
        places.append(side - size)
    return places


@named_ends('--workers', 'write --workers 1', 'Start again to continue')
def cut_folder(source: str | os.PathLike, output: str | os.PathLike, size: int = 480, step: int = 240,
               threshold: int = 0, compression: int = 3, workers: int | None = None) -> Summary:
    """Cut every photograph of a folder into sub-images, in parallel, with a progress bar.

    An unchanged photograph whose sub-images all exist is not cut again, so an interrupted run can be restarted.
    Photographs that cannot be read, or are smaller than ``size``, are skipped. Several sources may be cut into one
    folder.

    Args:
        source: Folder of photographs, with its subfolders.
        output: Folder for ``NAME_s001.png``, …
        size: Side of a sub-image, px. The paper's runs: 480.
        step: Distance between sub-images, px. The paper's runs: 240.
        threshold: See :func:`starts`.
        compression: PNG level, 0 (large, fast) to 9.
        workers: Number of processes. Default: one per core.

    Raises:
        UserError: No photographs, a number out of its range, or an output folder that was cut with other numbers or is
            inside the source.
        RunError: A process was killed.
    """
    for name, value, low in (('size', size, 1), ('step', step, 1), ('threshold', threshold, 0),
                             ('compression', compression, 0), ('workers', 1 if workers is None else workers, 1)):
        if value < low or (name == 'compression' and value > 9):
            raise UserError(f'--{name}: {value} is out of range; write {low} or more' +
                            (', at most 9' if name == 'compression' else ''))
    source, output = Path(source).expanduser(), Path(output).expanduser()
    images, _ = find_images(source)
    if output.resolve() == source.resolve() or source.resolve() in output.resolve().parents:
        raise UserError(f'--output: {output} is inside {source}; the sub-images would be cut again')
    check_start('--workers')
    _claim(output, {'size': size, 'step': step, 'threshold': threshold})
    jobs = list(zip(images, unique_names(images, str(source))))
    cut, skipped = 0, []
    try:
        executor = ProcessPoolExecutor(workers, initializer=ignore_ctrl_c)
    except ValueError as error:  # Windows: at most 61
        raise UserError(f'--workers: {workers} is out of range ({error})') from error
    with executor as pool:
        try:
            with workers_start():
                futures = [pool.submit(_cut, path, name, output, size, step, threshold, compression)
                           for path, name in jobs]
            for future in tqdm(as_completed(futures), total=len(futures), desc='Cutting', unit='photo', disable=None):
                done, reason = future.result()
                cut += done
                if reason:
                    skipped.append(reason)
        except BaseException as error:  # Ctrl-C too: finish the photographs in progress, cancel the others
            pool.shutdown(wait=True, cancel_futures=True)
            if isinstance(error, OSError):
                raise UserError(f'--output: {output}: cannot be written ({error.strerror}); make room or name another '
                                'folder, and start again to continue') from error
            raise
    cut_before = {path.name[1:-len('.done')] for path in output.glob('.*.done')}
    others = tuple(sorted(cut_before - {name for _, name in jobs}))
    return Summary(cut, len(jobs) - cut - len(skipped), tuple(sorted(skipped)), str(output), others)


def _claim(output: Path, settings: dict[str, int]) -> None:
    """Write the settings into the output folder; refuse a folder with other settings or with other files."""
    record = output / SETTINGS
    try:
        before = json.loads(record.read_text(encoding='utf-8')) if record.is_file() else None
        if before is None and output.is_dir() and any(output.iterdir()):
            raise UserError(f'--output: {output} is not empty, and not written by this tool; name a new folder')
        if before not in (None, settings):
            raise UserError(f'--output: {output} was cut with {before}, not {settings}; name another folder')
        with atomic_write(record, 'w') as file:
            json.dump(settings, file)
    except (OSError, ValueError) as error:
        raise UserError(f'--output: {output}: cannot be used ({error})') from error


def _cut(path: Path, name: str, output: Path, size: int, step: int, threshold: int,
         compression: int) -> tuple[int, str | None]:
    """Cut one photograph; returns 1 if it was cut, 0 if not, and the reason if it was skipped."""
    done = output / f'.{name}.done'
    before = _record(done)
    try:
        now = {'size': path.stat().st_size, 'mtime_ns': path.stat().st_mtime_ns}
        parts = [output / f'{name}_s{number:03d}.png' for number in range(1, before.get('parts', 0) + 1)]
        if parts and before == {**now, 'parts': len(parts)} and all(part.is_file() for part in parts):
            return 0, None
        image = read_image(path)
    except OSError as error:
        return 0, f'{path}: cannot be read ({error.strerror})'
    except UserError as error:
        return 0, str(error)
    done.unlink(missing_ok=True)
    for part in parts:  # the photograph may have been larger before
        part.unlink(missing_ok=True)
    height, width = image.shape[:2]
    if min(height, width) < size:
        return 0, f'{path}: {width}×{height} px is smaller than a sub-image, {size} (--size)'
    corners = itertools.product(starts(height, size, step, threshold), starts(width, size, step, threshold))
    for number, (top, left) in enumerate(corners, start=1):
        with atomic_write(output / f'{name}_s{number:03d}.png') as file:
            Image.fromarray(image[top:top + size, left:left + size]).save(file, 'PNG', compress_level=compression)
    with atomic_write(done, 'w') as file:
        json.dump({**now, 'parts': number}, file)
    return 1, None


def _record(done: Path) -> dict[str, int]:
    """Read size, time and number of sub-images of a photograph from its record; empty if there is none."""
    try:
        record = json.loads(done.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    fits = isinstance(record, dict) and all(isinstance(record.get(key), int) for key in ('size', 'mtime_ns', 'parts'))
    return record if fits and 0 < record['parts'] < 100_000 else {}
