"""Validation of a model on all datasets and degradations, distributed over the processes; writes one table."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from basicsr.metrics import calculate_metric
from basicsr.utils import get_root_logger, imwrite
from basicsr.utils.registry import METRIC_REGISTRY
from torch.utils.data import default_collate

from reflash_sr.data.images.channels import channels_of
from reflash_sr.data.test_degradation.degradations import AS_GIVEN
from reflash_sr.errors import RunError, UserError
from reflash_sr.evaluation.metrics import DECIMALS, UNITS, bicubic_upscale, measure, metric_title
from reflash_sr.evaluation.scores import TABLE_DECIMALS, Cell, Score, format_table, mean_cells, read_csv, write_csv
from reflash_sr.evaluation.tiled_inference import to_image
from reflash_sr.models.strips import START, Row, Strips, make_row, row_name
from reflash_sr.options.registry import registered
from reflash_sr.system import processes
from reflash_sr.system.files import relative
from reflash_sr.system.work_queue import Queue, progress

Found = TypeVar('Found')
OURS = {'calculate_psnr': 'psnr', 'calculate_ssim': 'ssim'}  # same values as BasicSR's, but faster


class ValidationStopped(Exception):
    """A signal interrupted a validation, which must be repeated."""


class Validation:
    """Measures a model, dataset by dataset; a round is one pass over all datasets and ends with a table.

    Args:
        opt: The run's options: ``datasets``, ``val: metrics``, ``path``.

    Attributes:
        stop_asked: Called before every image; a value other than 0 interrupts the round.
        on_means: Called on rank 0 before the table is written, with the iteration and the network's mean of every
            metric over all datasets and degradations; not at the start, before any training.
    """

    def __init__(self, opt: Mapping[str, Any]):
        self.opt = opt
        self.metrics = (opt.get('val') or {}).get('metrics') or {}
        self.sets = [section['name'] for key, section in opt['datasets'].items() if key.split('_')[0] != 'train']
        self._round: int | str | None = None
        self._scores: dict[str, list[Score]] = {}
        self._bicubic: dict[str, list[Score]] = {}
        self._strips = Strips(opt)
        self._rows: dict[str, list[Row]] = {}
        self.stop_asked: Callable[[], int] = int
        self.on_means: Callable[[int | str, dict[str, float]], None] = lambda current_iter, means: None

    def run(self, model: Any, dataset: Any, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
        """Measure the model on one dataset, unless this was already done at this iteration.

        Args:
            model: A model with ``feed_data``, ``test``, ``output``.
            dataset: Items have ``lq`` and ``lq_path``, and optionally ``gt`` and ``degradation``. Without a GT, only
                metrics that need none are measured.
            current_iter: Iteration, or the name of a test.
            tb_logger: TensorBoard's writer, or None.
            save_img: Whether to write the SR images.

        Raises:
            ValidationStopped: ``stop_asked`` interrupted it; the next call starts a new round.
            UserError: A metric cannot be measured on an image.
            RunError: The table cannot be written.
        """
        name = dataset.opt['name']
        if self._round != current_iter:
            self._round, self._scores, self._rows = current_iter, {}, {}
        if name in self._scores:
            return
        self._scores[name] = self._measure(model, dataset, name, current_iter, save_img)
        if set(self._scores) >= set(self.sets) and self.metrics:
            processes.on_rank_0(lambda: self._report(current_iter, tb_logger))

    def is_done(self, iteration: int) -> bool:
        """Whether the round at an iteration is complete, in this run or in the run that it continues."""
        return processes.on_rank_0(self.table_path(iteration).is_file)

    def leave_out(self, iteration: int) -> dict[str, float]:
        """Skip the round at an iteration, which is already complete.

        Returns:
            What ``on_means`` was called with then; empty if the table cannot be read.
        """
        self._round, self._scores = iteration, {name: [] for name in self.sets}

        def read() -> dict[str, float]:
            with suppress(OSError, ValueError):
                return self._means_of(read_csv(self.table_path(iteration)))
            return {}

        return processes.on_rank_0(read)

    def _measure(self, model: Any, dataset: Any, name: str, current_iter: int | str, save_img: bool) -> list[Score]:
        with_bicubic = name not in self._bicubic
        network: dict[int, list[Score]] = {}
        bicubic: dict[int, list[Score]] = {}
        rows: dict[int, list[Row]] = {}
        show = (self.opt.get('val') or {}).get('pbar', True) and self.opt['rank'] == 0
        queue = Queue(range(len(dataset)))
        for place in progress(queue, f'Validation {name}', show, leave=False):
            if self.stop_asked():
                queue.close()
                break
            item = default_collate([dataset[place]])
            degradation = item.get('degradation', [AS_GIVEN])[0]
            image = Path(item['lq_path'][0]).stem
            model.feed_data(item)
            model.test()
            sr = to_image(model.output)
            if save_img:
                imwrite(sr[..., ::-1], str(self._image_path(name, image, current_iter)))
            gt = to_image(item['gt']) if 'gt' in item else None
            network[place] = self._score('network', name, degradation, image, sr, gt)
            in_strip = self._strips.wants(dataset, place, degradation, current_iter)
            if not with_bicubic and not in_strip:
                continue
            lq = to_image(item['lq'])
            interpolated = bicubic_upscale(lq, sr.shape[0] // lq.shape[0])
            bicubic[place] = self._score('bicubic', name, degradation, image, interpolated, gt)
            if in_strip:
                images = {'GT': gt, 'LQ': lq, 'bicubic': interpolated, 'network': sr}
                captions = {scores[0].method: self._caption(scores[0])
                            for scores in (network[place], bicubic[place]) if scores}
                title = row_name(item.get('gt_path', item['lq_path']), degradation)
                rows[place] = [make_row(place, title, images, captions)]
        if any(processes.gather(bool(self.stop_asked()))):  # all ranks stop together; nothing of this round is kept
            self._round = None
            raise ValidationStopped
        if with_bicubic:
            self._bicubic[name] = _gather(bicubic)
        self._rows[name] = _gather(rows)
        return _gather(network)

    def _score(self, method: str, dataset: str, degradation: str, image: str, sr: np.ndarray,
               gt: np.ndarray | None) -> list[Score]:
        try:
            values = {metric: value_of(opt, sr, gt) for metric, opt in self.metrics.items()
                      if gt is not None or not needs_gt(opt)}
        except UserError as error:
            raise UserError(f'{dataset}: {image}: {method}: {error}') from error
        return [Score(method, dataset, degradation, image, metric, float(value)) for metric, value in values.items()]

    def _image_path(self, dataset: str, image: str, current_iter: int | str) -> Path:
        folder = self.opt['path']['visualization']
        if self.opt['is_train']:
            return Path(folder, image, f'{image}_{current_iter}.png')
        return Path(folder, dataset, f"{image}_{(self.opt['val'] or {}).get('suffix') or self.opt['name']}.png")

    def _report(self, current_iter: int | str, tb_logger: Any) -> None:
        cells = mean_cells(score for name in self.sets for score in self._scores[name] + self._bicubic[name])
        if self.opt['is_train'] and self.opt['val'].get('at_start') and current_iter != START:
            cells = self._with_start(cells)
        measured = {cell.metric for cell in cells}
        for metric in self.metrics.keys() - measured:
            get_root_logger().warning('val: metrics: %s: is not measured, because no validation set has a GT', metric)
        if not measured:
            return
        at = f'iteration {current_iter:,}' if isinstance(current_iter, int) else current_iter
        tables = [format_table(cells, metric, self._note(opt), DECIMALS.get(OURS.get(opt['type'], ''), 4))
                  for metric, opt in self.metrics.items() if metric in measured]
        path = self.table_path(current_iter)
        network = [cell for cell in cells if cell.method == 'network']
        if current_iter != START:
            self.on_means(current_iter, self._means_of(network))
        try:
            metric = metric_title(next(iter(self.metrics)))
            strips = self._strips.draw(self._rows, path, f'{at}: {metric} of the whole image below each crop')
            write_csv(cells, path)  # last, because the file marks the round as complete
        except OSError as error:
            raise RunError(f'{path}: cannot be written ({error.strerror}); free disk space and continue with '
                           '--auto_resume') from error
        get_root_logger().info('Validation, %s, written to %s\n%s', at, relative(path), '\n\n'.join(tables))
        for figure in strips:
            get_root_logger().info('Crops side by side: %s', relative(figure))
        for cell in network if tb_logger else ():
            tb_logger.add_scalar(f'{cell.metric}/{cell.dataset}/{cell.degradation}', cell.value, current_iter)

    def _means_of(self, cells: list[Cell]) -> dict[str, float]:
        """The network's mean of every metric, of the values as the table has them."""
        values: dict[str, list[float]] = {}
        for cell in cells:
            if cell.method == 'network' and cell.metric in self.metrics:
                values.setdefault(cell.metric, []).append(round(cell.value, TABLE_DECIMALS))
        return {metric: sum(some) / len(some) for metric, some in values.items()}

    def _with_start(self, cells: list[Cell]) -> list[Cell]:
        """Put the values at the start of the run before those of their dataset, as the method ``start``."""
        try:
            found = read_csv(self.table_path(START))
        except (OSError, ValueError) as error:
            get_root_logger().warning('val: at_start: the table has no row start, because %s cannot be read (%s)',
                                      relative(self.table_path(START)), getattr(error, 'strerror', None) or error)
            return cells
        places = {(cell.dataset, cell.degradation, cell.metric) for cell in cells}
        start = [replace(cell, method='start') for cell in found
                 if cell.method == 'network' and (cell.dataset, cell.degradation, cell.metric) in places]
        return [cell for name in self.sets for cell in (*start, *cells) if cell.dataset == name]

    def _caption(self, score: Score) -> str:
        ours = OURS.get(self.metrics[score.metric]['type'], '')
        return f'{score.value:.{DECIMALS.get(ours, 4)}f} {UNITS.get(ours, "")}'.rstrip()

    def _note(self, opt: Mapping[str, Any]) -> str:
        on_y = opt.get('test_y_channel') or (opt['type'] == 'calculate_niqe' and opt.get('convert_to', 'y') == 'y')
        on_y = on_y or any(channels_of(section) == 1 for section in self.opt['datasets'].values())
        unit = UNITS.get(OURS.get(opt['type'], ''))
        parts = [unit, f"8-bit {'Y of YCbCr' if on_y else 'RGB'}", f"{opt.get('crop_border', 0)} px border cropped",
                 'lower is better' if opt.get('better') == 'lower' else None]
        return ', '.join(part for part in parts if part)

    def table_path(self, current_iter: int | str) -> Path:
        """Path of the table of a round."""
        paths = self.opt['path']
        if self.opt['is_train']:
            return Path(paths['experiments_root'], 'validation', f'iter_{current_iter}.csv')
        return Path(paths['results_root'], 'table.csv')


def needs_gt(opt: Mapping[str, Any]) -> bool:
    """Whether a metric of an option file compares with a GT: then its function has an argument ``img2``."""
    return 'img2' in signature(registered(METRIC_REGISTRY, opt['type'], 'val: metrics: type')).parameters


def value_of(opt: Mapping[str, Any], sr: np.ndarray, gt: np.ndarray | None) -> float:
    """Measure one image with a metric of an option file.

    Args:
        opt: Section of the metric: ``type``, and the arguments of its function.
        sr: RGB or Y, (H, W, 3 or 1) uint8.
        gt: The same; not used by a metric that needs none.

    Returns:
        The value; NaN where a metric without reference has none, such as NIQE of an image without any structure.
    """
    if gt is None or not needs_gt(opt):
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', RuntimeWarning)  # of NumPy, about blocks of one colour
            try:
                return calculate_metric({'img': sr[..., ::-1]}, dict(opt))
            except np.linalg.LinAlgError:
                return float('nan')
    if opt['type'] in OURS:
        return measure(OURS[opt['type']], sr, gt, opt.get('crop_border', 0), opt.get('test_y_channel', False))
    return calculate_metric({'img': sr[..., ::-1], 'img2': gt[..., ::-1]}, dict(opt))


def _gather(found: dict[int, list[Found]]) -> list[Found]:
    """Merge what all processes have found, in the order of the dataset."""
    merged = {place: some for part in processes.gather(found) for place, some in part.items()}
    return [one for place in sorted(merged) for one in merged[place]]
