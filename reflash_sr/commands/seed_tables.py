"""Gains over several seeds as CSV, Markdown and text."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields

from reflash_sr.evaluation.metrics import DECIMALS, UNITS, metric_title
from reflash_sr.evaluation.scores import MEAN
from reflash_sr.system.files import csv_text

PLAIN = 'p = 0'
KINDS = {'params': 'raw weights', 'params_ema': 'EMA weights'}
SPANS = ('over images', 'over seeds', 'seeds')
BEYOND = 'beyond shrinkage'  # ends the name of a comparison of two networks at the best α of each


@dataclass(frozen=True)
class Entry:
    """A line of ``gains.csv``: a variant on a dataset under a degradation, averaged over its seeds."""

    metric: str
    weights: str  # 'params' or 'params_ema'
    iteration: int
    dataset: str  # or a mean over datasets
    degradation: str  # or 'mean'
    method: str  # the variant, such as 'p = 0.3', 'p = 0, shrunk' or 'p = 0.3, beyond shrinkage'
    value: float  # mean over seeds and images
    reference: float  # the same mean for what it is compared with: p = 0 or the first preset (shrunk, beyond shrinkage)
    bicubic: float
    gain: float  # value compared with reference, in the metric's unit; positive is better
    images: int  # number of images
    images_low: float | None  # of the 95 % interval of the gain over images; None if no dataset has two images
    images_high: float | None
    seeds: int  # number of seeds
    seeds_low: float | None  # of the 95 % interval over seeds; None for one seed
    seeds_high: float | None
    by_seed: dict[int, float]  # the gain of each seed

    @property
    def signed(self) -> str:
        return f'{self.gain:+.{DECIMALS[self.metric]}f}'

    @property
    def spans(self) -> list[str]:
        """Both intervals and the number of seeds."""
        decimals = DECIMALS[self.metric]
        return ['–' if low is None else f'[{low:+.{decimals}f}, {high:+.{decimals}f}]' for low, high in (
            (self.images_low, self.images_high), (self.seeds_low, self.seeds_high))] + [str(self.seeds)]

    @property
    def kind(self) -> str:
        return KINDS.get(self.weights, self.weights)


def to_csv(entries: Sequence[Entry]) -> str:
    """One line for each entry."""

    def text(value: object) -> object:
        if isinstance(value, dict):
            return ' '.join(f'{seed}:{gain:.4f}' for seed, gain in value.items())
        return f'{value:.4f}' if isinstance(value, float) else value

    names = [field.name for field in fields(Entry)]
    return csv_text(names, ([text(getattr(entry, name)) for name in names] for entry in entries))


def tables(entries: Sequence[Entry], how: str, reference: str) -> str:
    """Markdown for each metric and kind of weights: gains of the last iteration, and the mean gain over iterations.

    ``how`` says how the entries were measured, ``reference`` what the gains are over.
    """
    parts = []
    for metric, weights in dict.fromkeys((entry.metric, entry.weights) for entry in entries):
        found = [entry for entry in entries if (entry.metric, entry.weights) == (metric, weights)]
        parts.append(_gain_table(at_last_iteration(found), how, reference))
        curve = over_time(found)
        if curve:
            parts.append(_time_table(curve, how, reference))
    return '\n'.join(parts)


def cells(measured: Collection[tuple[str, int, int, tuple[str, str]]]) -> str:
    """Markdown: the iterations at which each variant of each seed was evaluated; a dash if never.

    ``in part`` means that datasets or weights (raw or EMA) are missing that other networks have at this iteration.

    Args:
        measured: For each network and dataset: variant, seed, iteration and (weights, dataset).
    """
    seeds = sorted({seed for _, seed, _, _ in measured})
    rows = []
    for variant in sorted({one[0] for one in measured}):
        row = [variant]
        for seed in seeds:
            found = []
            for iteration in sorted({one[2] for one in measured if one[:2] == (variant, seed)}):
                whole = {one[3] for one in measured if one[2] == iteration}
                has = {one[3] for one in measured if one[:3] == (variant, seed, iteration)}
                found.append(f'{iteration:,}' + (' (in part)' if has < whole else ''))
            row.append(', '.join(found) or '–')
        rows.append(row)
    return _markdown(['evaluated at iteration', *(f'seed {seed}' for seed in seeds)], rows, words=1)


def _gain_table(chosen: Sequence[Entry], how: str, reference: str) -> str:
    columns = sorted(dict.fromkeys(entry.degradation for entry in chosen), key=lambda name: name == MEAN)
    rows = []
    for key in dict.fromkeys((entry.dataset, entry.method) for entry in chosen):
        row = {entry.degradation: entry for entry in chosen if (entry.dataset, entry.method) == key}
        whole = row.get(MEAN) or (None if MEAN in columns and len(row) > 1 else next(iter(row.values())))
        rows.append([*key, *(row[name].signed if name in row else '' for name in columns),
                     *(whole.spans if whole else ['–'] * len(SPANS))])
    title = (f'Gain in {_metric(chosen[0])} over {reference} of the same seed, {chosen[0].kind}, iteration '
             f'{chosen[0].iteration:,} ({how}); 95 % intervals of the mean')
    if any(BEYOND in entry.method for entry in chosen):
        title += f'; {BEYOND}: over that too, both shrunk towards interpolation by an α of their own'
    return f"{title}\n\n{_markdown(['dataset', 'method', *columns, *SPANS], rows)}"


def _time_table(curve: Sequence[Entry], how: str, reference: str) -> str:
    rows = [[f'{one.iteration:,}', one.method,
             *(f'{value:.{DECIMALS[one.metric]}f}' for value in (one.bicubic, one.reference, one.value)),
             one.signed, *one.spans] for one in curve]
    head = ['iteration', 'method', 'bicubic', reference, 'this method', 'gain', *SPANS]
    title = f'{_metric(curve[0])} by iteration, {curve[0].kind} ({how}): {place_of(curve[0])}'
    return f'{title}\n\n{_markdown(head, rows)}'


def _metric(one: Entry) -> str:
    return metric_title(one.metric) + (f' in {UNITS[one.metric]}' if one.metric in UNITS else '')


def place_of(one: Entry) -> str:
    return f"{one.dataset}, {'mean over degradations' if one.degradation == MEAN else one.degradation}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]], words: int = 2) -> str:
    """A table; the first ``words`` columns hold text, the others numbers."""
    lines = ['| ' + ' | '.join(row) + ' |' for row in (head, *rows)]
    lines.insert(1, '|' + '---|' * words + '---:|' * (len(head) - words))
    return '\n'.join(lines) + '\n'


def over_time(entries: Sequence[Entry]) -> list[Entry]:
    """Entries of all iterations for the largest group of datasets that all have; empty if there is one iteration."""
    there: dict[str, set[int]] = {}
    for entry in entries:
        there.setdefault(entry.dataset, set()).add(entry.iteration)
    iterations = set.union(*there.values())
    dataset = widest([name for name in there if there[name] == iterations] or list(there))
    columns = [entry.degradation for entry in entries if entry.dataset == dataset]
    column = MEAN if MEAN in columns else columns[0]
    found = [entry for entry in entries if (entry.dataset, entry.degradation) == (dataset, column)]
    return found if len({entry.iteration for entry in found}) > 1 else []


def widest(names: Sequence[str]) -> str:
    return max(names, key=lambda name: name.count(','))


def at_last_iteration(entries: Sequence[Entry]) -> list[Entry]:
    """Entries of the last iteration."""
    last = max(entry.iteration for entry in entries)
    return [entry for entry in entries if entry.iteration == last]


def lines(entries: Sequence[Entry], reference: str) -> list[str]:
    """The means of the last iteration, as lines to print."""
    at_last = at_last_iteration(entries)
    with_mean = {entry.dataset for entry in entries if entry.degradation == MEAN}
    return [f'gain over {reference}, iteration {at_last[0].iteration:,}, 95 % intervals', *(
        f'{one.metric}, {one.weights}, {one.dataset}: {one.method}: {one.signed}' + ','.join(
            f' {what} {span}' for what, span in zip(('images', 'seeds'), one.spans) if span != '–')
        for one in at_last if one.degradation == MEAN or one.dataset not in with_mean)]
