"""Scores of images that are finished, kept while an evaluation runs, so that it can go on after an interruption."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from reflash_sr.errors import UserError
from reflash_sr.evaluation.scores import Score
from reflash_sr.system import processes

PROGRESS = '.progress'
Unit = tuple[str, str]  # set, image


class Progress:
    """Lines of finished images, a file for each process; a torn last line is not read again."""

    def __init__(self, folder: Path):
        self._path = folder / PROGRESS / f'{processes.rank()}_{os.getpid()}.jsonl'
        self._file: IO[str] | None = None

    def write(self, dataset: str, image: str, scores: Sequence[Score]) -> None:
        rows = [(one.method, one.degradation, one.metric, one.value) for one in scores]
        if self._file is None:
            self._path.parent.mkdir(exist_ok=True)
            self._file = self._path.open('a', encoding='utf-8')
        self._file.write(json.dumps([dataset, image, rows]) + '\n')
        self._file.flush()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()


def load(folder: Path) -> dict[Unit, list[Score]]:
    """Scores of the images that are finished."""
    found: dict[Unit, list[Score]] = {}
    if (folder / 'scores.csv').is_file():
        try:
            with open(folder / 'scores.csv', encoding='utf-8', newline='') as file:
                for row in csv.DictReader(file):
                    score = Score(**{**row, 'value': float(row['value'])})
                    found.setdefault((score.dataset, score.image), []).append(score)
        except (ValueError, TypeError, KeyError, csv.Error) as error:
            what = 'a line is cut off, or a column is another' if isinstance(error, TypeError) else error
            raise UserError(f"{folder / 'scores.csv'}: is damaged ({what}); take it away to measure anew") from error
    for path in sorted((folder / PROGRESS).glob('*.jsonl')):
        for line in path.read_text(encoding='utf-8').splitlines():
            try:
                dataset, image, rows = json.loads(line)
                found[dataset, image] = [Score(method, dataset, degradation, image, metric, float(value))
                                         for method, degradation, metric, value in rows]
            except (ValueError, TypeError, RecursionError):
                continue
    return found
