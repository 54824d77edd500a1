"""Crops of validation images side by side, at the end of a run: GT, LQ, bicubic, the start of the run, the network."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from basicsr.utils import get_root_logger

from reflash_sr.data.test_degradation.degradations import AS_GIVEN
from reflash_sr.evaluation.detail_crop import crop_box
from reflash_sr.system.files import atomic_write, relative

START = 0  # iteration of the validation before the first step
CROPS = 'start_crops.npz'  # the network's crops at the start, kept for the end of the run
NAME_LETTERS = 22  # letters of a row's name that fit beside a crop


@dataclass(frozen=True)
class Column:
    """A crop, (H, W, 3) uint8, and what stands above and below it."""

    head: str
    crop: np.ndarray
    caption: str = ''


@dataclass(frozen=True)
class Row:
    """One image under one degradation: item number ``place`` of a dataset."""

    place: int
    name: str
    columns: list[Column]


class Strips:
    """Collects crops during a validation, and draws one figure for each dataset.

    Args:
        opt: The run's options. ``val: strips`` is the number of images of each dataset, from the first;
            ``strip_degradations`` their degradations (default: all); with ``at_start``, the figure shows the start.
    """

    def __init__(self, opt: Mapping[str, Any]):
        section = opt.get('val') or {}
        self._images: int = section.get('strips', 0)
        self._degradations: Sequence[str] = section.get('strip_degradations') or ()
        self._rounds = (START, opt['train']['total_iter']) if opt['is_train'] else ()
        self.with_start = bool(opt['is_train'] and section.get('at_start'))

    def wants(self, dataset: Any, place: int, degradation: str, current_iter: int | str) -> bool:
        """Whether a figure shows item number ``place`` of a dataset, in this round of validation."""
        image = place // len(getattr(dataset, 'degradations', (AS_GIVEN,)))
        chosen = not self._degradations or degradation in (AS_GIVEN, *self._degradations)
        return chosen and image < self._images and (not self._rounds or current_iter in self._rounds)

    def draw(self, rows: Mapping[str, Sequence[Row]], table: Path, title: str) -> list[Path]:
        """Draw a figure for each dataset, beside the table of the validation; at the start, only keep the crops.

        Args:
            rows: Rows by dataset.
            table: Path of the table; the crops of the start are beside it.
            title: What the captions are.

        Returns:
            The figures. Those of datasets whose crops of the start are missing do not have the column ``start``.

        Raises:
            OSError: A figure cannot be written.
        """
        from reflash_sr.figures import draw_strips, style  # Matplotlib takes a second to import

        if not any(rows.values()):
            return []
        if self.with_start and table.stem == f'iter_{START}':
            _keep(rows, table.with_name(CROPS))
            return []
        start = _load(table.with_name(CROPS)) if self.with_start else {}
        drawn = []
        for dataset, some in rows.items():
            whole = all((dataset, row.place, row.name) in start for row in some)
            if self.with_start and not whole:
                get_root_logger().warning('val: strips: %s: the start of the run is not shown, because its crops are '
                                          'not in %s', dataset, relative(table.with_name(CROPS)))
            strip = []
            for row in some:
                *others, network = row.columns
                columns = [*others, *([start[dataset, row.place, row.name]] if whole else []), network]
                strip.append((style.short(row.name, NAME_LETTERS),
                              [(column.head, column.crop, column.caption) for column in columns]))
            if strip:
                drawn.append(table.with_name(f'{table.stem}_{dataset}.png'))
                draw_strips.draw_strips(strip, drawn[-1], f'{style.short(dataset)}, {title}')
        return drawn


def make_row(place: int, name: str, images: Mapping[str, np.ndarray | None], captions: Mapping[str, str]) -> Row:
    """Crop the part of an image with the most structure.

    Args:
        place, name: Of the row.
        images: ``GT`` (H, W, C), ``LQ`` (H / scale, W / scale, C), ``bicubic`` and, last, ``network`` (H, W, C), uint8.
            Without a GT, which is then None, the bicubic image says which part is cropped.
        captions: What stands below the crops, by the same names.
    """
    found = {head: _rgb(image) for head, image in images.items() if image is not None}
    scale = found['network'].shape[0] // found['LQ'].shape[0]
    found['LQ'] = found['LQ'].repeat(scale, 0).repeat(scale, 1)
    box = crop_box(found.get('GT', found['bicubic']), scale)
    return Row(place, name, [Column(head, image[box], captions.get(head, '')) for head, image in found.items()])


def row_name(paths: Iterable[str], degradation: str) -> str:
    """Name of a row: that of the image file, and the degradation unless the LQ image is a file too."""
    image = Path(next(iter(paths))).stem
    return image if degradation == AS_GIVEN else f'{degradation}, {image}'


def _keep(rows: Mapping[str, Sequence[Row]], path: Path) -> None:
    """Write the network's crops."""
    found = [(dataset, row, row.columns[-1]) for dataset, some in rows.items() for row in some]
    crops: dict[str, Any] = {f'crop_{number}': network.crop for number, (_, _, network) in enumerate(found)}
    labels = [(dataset, str(row.place), row.name, network.caption) for dataset, row, network in found]
    with atomic_write(path) as file:
        np.savez(file, labels=np.array(labels), **crops)


def _load(path: Path) -> dict[tuple[str, int, str], Column]:
    """The crops that :func:`_keep` has written, by dataset and row; empty if they cannot be read."""
    damaged = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
    with contextlib.suppress(*damaged), open(path, 'rb') as opened, np.load(opened) as file:
        return {(str(dataset), int(place), str(name)): Column('start', file[f'crop_{number}'], str(caption))
                for number, (dataset, place, name, caption) in enumerate(file['labels'])}
    return {}


def _rgb(image: np.ndarray) -> np.ndarray:
    """A Y image as grey, an RGBA image without alpha."""
    return image.repeat(3, 2) if image.shape[2] == 1 else image[..., :3]
