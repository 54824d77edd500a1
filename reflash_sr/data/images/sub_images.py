"""Cut photographs into overlapping sub-images, which a loader reads faster than whole ones."""

from __future__ import annotations

import itertools
import json
import os
import signal
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from reflash_sr.data.images.image_source import unique_names
from reflash_sr.data.images.read_image import find_images, read_image
from reflash_sr.errors import UserError
from reflash_sr.system.files import atomic_write

SHOWN = 5  # names in a line of the summary
SETTINGS = 'sub_images.json'  # in the output folder: size, step and threshold of its sub-images


@dataclass(frozen=True)
class Summary:
    """What :func:`cut_folder` did; as text, lines for the user."""

    cut: int
    kept: int
    skipped: tuple[str, ...]
    output: str
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f'photographs cut: {self.cut}, done before: {self.kept}; sub-images in {self.output}'
        text += ''.join(f'\nskipped: {reason}' for reason in self.skipped)
        if self.others:
            named = ', '.join(self.others[:SHOWN]) + (', …' if len(self.others) > SHOWN else '')
            text += (f'\nalso there: sub-images of {len(self.others)} photographs that are not in the input now '
                     f'({named}); delete NAME_s*.png and .NAME.done of those that are not to be trained on')
        return text


def starts(side: int, size: int, step: int, threshold: int = 0) -> list[int]:
    """Where sub-images begin along one side.

    Args:
        side: Length of the side, px; at least ``size``.
        size: Side of a sub-image, px.
        step: From one to the next, px.
        threshold: A remainder of at most this many px gets no sub-image of its own.

    Returns:
        Positions, px; the last sub-image ends at the border if the remainder is above ``threshold``.
    """
    places = list(range(0, side - size + 1, step))
    if side - (places[-1] + size) > threshold:
        places.append(side - size)
    return places


def cut_folder(source: str | os.PathLike, output: str | os.PathLike, size: int = 480, step: int = 240,
               threshold: int = 0, compression: int = 3, workers: int | None = None) -> Summary:
    """Cut every photograph of a folder into sub-images, in parallel, with a progress bar.

    A photograph that has not changed, and whose sub-images all exist, is not cut again, so an interrupted run can be
    restarted. Photographs that cannot be read, or are smaller than ``size``, are skipped and named.

    Args:
        source: Folder of photographs; folders inside are searched too.
        output: Folder for ``NAME_s001.png``, …
        size: Side of a sub-image, px. The paper's runs: 480.
        step: From one to the next, px. The paper's runs: 240.
        threshold: See :func:`starts`.
        compression: PNG level, 0 (large, fast) to 9.
        workers: Processes. Default: one per core.

    Returns:
        Counts, what was skipped, and the photographs of earlier runs that are not in the source now: their sub-images
        are kept, because several sources may be cut into one folder.

    Raises:
        UserError: No photographs, wrong numbers, or an output folder that was cut with others or is inside the source.
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
    _claim(output, {'size': size, 'step': step, 'threshold': threshold})
    jobs = list(zip(images, unique_names(images, str(source))))
    cut, skipped = 0, []
    with ProcessPoolExecutor(workers, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)) as pool:
        try:
            futures = [pool.submit(_cut, path, name, output, size, step, threshold, compression)
                       for path, name in jobs]
            for future in tqdm(as_completed(futures), total=len(futures), desc='Cutting', unit='photo', disable=None):
                done, reason = future.result()
                cut += done
                if reason:
                    skipped.append(reason)
        except BaseException as error:  # Ctrl-C too: photographs that are being cut are finished, the others are not
            pool.shutdown(wait=True, cancel_futures=True)
            if isinstance(error, OSError):
                raise UserError(f'--output: {output}: cannot be written ({error.strerror}); make room or name another '
                                'folder, and start again: it goes on where it stopped') from error
            raise
    cut_before = {path.name[1:-len('.done')] for path in output.glob('.*.done')}
    others = tuple(sorted(cut_before - {name for _, name in jobs}))
    return Summary(cut, len(jobs) - cut - len(skipped), tuple(sorted(skipped)), str(output), others)


def _claim(output: Path, settings: dict[str, int]) -> None:
    """Refuse a folder that was cut with other settings, or that holds anything else."""
    record = output / SETTINGS
    try:
        before = json.loads(record.read_text(encoding='utf-8')) if record.is_file() else None
        if before is None and output.is_dir() and any(output.iterdir()):
            raise UserError(f'--output: {output} is not empty, and not of this tool; name a new folder')
        if before not in (None, settings):
            raise UserError(f'--output: {output} was cut with {before}, not {settings}; name another folder')
        with atomic_write(record, 'w') as file:
            json.dump(settings, file)
    except (OSError, ValueError) as error:
        raise UserError(f'--output: {output}: cannot be used ({error})') from error


def _cut(path: Path, name: str, output: Path, size: int, step: int, threshold: int,
         compression: int) -> tuple[int, str | None]:
    """Cut one photograph; returns 1 if there was something to do, and the reason if it was skipped."""
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
    """Size, time and number of parts of a photograph when it was cut; empty if that is not known."""
    try:
        record = json.loads(done.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    fits = isinstance(record, dict) and all(isinstance(record.get(key), int) for key in ('size', 'mtime_ns', 'parts'))
    return record if fits and 0 < record['parts'] < 100_000 else {}
