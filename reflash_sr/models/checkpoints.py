"""Writing the checkpoints of a run, and keeping the newest and, for every metric, the best."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from reflash_sr.errors import RunError, UserError
from reflash_sr.weights import state_dict as weights

# Of BasicSR's metrics; other metrics say in their section of the option file which values are better.
BETTER = {'calculate_psnr': 'higher', 'calculate_ssim': 'higher', 'calculate_niqe': 'lower'}


def write(content: Any, path: Path) -> None:
    """Write a checkpoint atomically.

    Raises:
        RunError: The disk is full or the folder is not writable.
    """
    try:
        weights.save(content, path)
    except (OSError, RuntimeError) as error:  # torch may wrap an OSError in a RuntimeError
        reasons = [getattr(cause, 'strerror', None) for cause in (error, error.__context__)]
        reason = next((reason for reason in reasons if reason), str(error).splitlines()[0])
        raise RunError(f'{path}: cannot be written ({reason}); earlier checkpoints are intact. Free disk space and '
                       'continue with --auto_resume') from error


def prune(opt: Mapping[str, Any], iteration: int) -> None:
    """Delete all but the newest ``logger: keep_last`` checkpoints, after that of ``iteration`` is written.

    A state is deleted before its weights, so a state without weights never exists. ``latest``, ``best``, and later
    iterations (if the run continued from an earlier state) are not deleted.

    Raises:
        RunError: A file cannot be deleted.
    """
    keep = opt['logger'].get('keep_last')
    if not keep:
        return
    found = [(int(match[1]), path) for folder, pattern in (
        ('training_states', r'(\d+)\.state'), ('models', r'net_[a-z]+_(\d+)\.(?:pth|safetensors)'))
        for path in Path(opt['path'][folder]).glob('*') if (match := re.fullmatch(pattern, path.name))]
    old = sorted({number for number, _ in found if number <= iteration})[:-keep]
    try:
        for number, path in found:
            if number in old:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f'{path}: cannot be deleted ({error.strerror}), as keep_last: {keep} requires') from error


class Best:
    """The best value of every metric so far, and the weights that reached it: ``net_g_best_{metric}``.

    Args:
        opt: The run's options; ``val: metrics: NAME: better`` is ``'higher'`` or ``'lower'`` (default: as in
            :data:`BETTER`, else ``'higher'``).
        save: Function that saves the network under a label, and its second argument in the file's ``trained``.

    Attributes:
        values: ``value`` and ``iter`` by metric.
    """

    def __init__(self, opt: Mapping[str, Any], save: Callable[[str, dict[str, Any]], None]):
        section = opt.get('val') or {}
        self.keep = bool(section.get('keep_best'))
        self._lower = {name: metric.get('better', BETTER.get(metric['type'])) == 'lower'
                       for name, metric in (section.get('metrics') or {}).items()}
        self._save = save
        self._folder = Path(opt['path'].get('models', ''))
        self._suffix = weights.suffix_of(opt)
        self.values: dict[str, dict[str, Any]] = {}

    def take(self, iteration: int | str, means: Mapping[str, float]) -> None:
        """Take the result of a validation; save the weights if it is better than all earlier ones (not if equal)."""
        for metric, value in means.items():
            if self._is_better(metric, value):
                self.values[metric] = {'value': value, 'iter': iteration}
                if self.keep:
                    self._save(self.label(metric), {'best': metric, 'value': value})

    def continue_from(self, values: Mapping[str, Any], iteration: int, means: Mapping[str, float]) -> None:
        """Restore the values of a state, which was saved before the validation at its iteration.

        Args:
            values: ``best`` of the state.
            iteration: Iteration of the state; the network has its weights.
            means: Result of the validation at that iteration, empty if it is not complete.
        """
        self.values = {name: dict(best) for name, best in values.items() if name in self._lower}
        for metric in [metric for metric, value in means.items() if self._is_better(metric, value)]:
            self.values[metric] = {'value': means[metric], 'iter': iteration}
            if self.keep and not self._is_kept(metric, iteration):
                self._save(self.label(metric), {'best': metric, 'value': means[metric]})

    @staticmethod
    def label(metric: str) -> str:
        """Label of the weights file of a metric."""
        return 'best_' + re.sub(r'[^\w.-]', '_', metric)

    def _is_kept(self, metric: str, iteration: int) -> bool:
        path = self._folder / f'net_g_{self.label(metric)}{self._suffix}'
        with suppress(UserError):  # missing or damaged
            return weights.load_weights(path).trained.get('iter') == iteration
        return False

    def _is_better(self, metric: str, value: float) -> bool:
        best = self.values[metric]['value'] if metric in self.values else None
        return math.isfinite(value) and (best is None or (value < best if self._lower[metric] else value > best))
