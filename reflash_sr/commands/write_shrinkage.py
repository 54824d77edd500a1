"""PSNR of the measured networks for every α of the shrinkage control, as a table and a figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reflash_sr.commands.evaluation_folder import EvaluationFolder
from reflash_sr.evaluation.comparison import BICUBIC
from reflash_sr.evaluation.comparison_table import Grid
from reflash_sr.evaluation.scores import MEAN, Score
from reflash_sr.evaluation.shrinkage import ALPHAS, LARGEST, psnr
from reflash_sr.evaluation.shrunk_rows import ONCE, ShrunkRow, parabolas
from reflash_sr.figures.draw_shrinkage import ShrinkageCurve, draw_shrinkage
from reflash_sr.system.files import csv_text

STEP = 5  # of ALPHAS, between lines of the table


def write_shrinkage(folder: EvaluationFolder, scores: Sequence[Score], grid: Grid, rows: Sequence[ShrunkRow]) -> None:
    """Write ``shrinkage.csv`` and ``shrinkage.png``.

    Args:
        scores: The parabolas of all measured images.
        grid: The metrics; for the title.
        rows: Rows of the control.
    """
    found = parabolas(scores)
    lines, curves = [], []
    for (method, dataset), some in found.items():
        by_degradation = {name: psnr(values).mean(axis=0) for name, values in some.items()}
        mean = np.mean(list(by_degradation.values()), axis=0)
        if method == BICUBIC:
            curves.append(ShrinkageCurve(method, dataset, [0, LARGEST], [mean[0]] * 2, []))
            continue
        for name, values in {**by_degradation, **({MEAN: mean} if len(by_degradation) > 1 else {})}.items():
            lines += [(method, dataset, name, f'{alpha:.2f}', f'{value:.6f}')
                      for alpha, value in zip(ALPHAS[::STEP], values[::STEP])]
        fitted = sorted({alpha for row in rows if (row.network, row.way) == (method, ONCE)
                         for part in row.parts if part.dataset == dataset for alpha in part.alphas.values()})
        curves.append(ShrinkageCurve(method, dataset, ALPHAS, mean, fitted))
    folder.write('shrinkage.csv', csv_text(('method', 'dataset', 'degradation', 'alpha', 'psnr'), lines))
    title = f'PSNR of networks drawn towards interpolation by α ({grid.how})'
    draw_shrinkage(curves, folder.path / 'shrinkage.png', title, rows[0].source)
