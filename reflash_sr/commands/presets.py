"""The presets of a study, as names of its networks: what is compared is what a preset is, not dropout alone."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reflash_sr.errors import UserError
from reflash_sr.studies.grid import PRESET, load
from reflash_sr.studies.results import LENGTH

SCHEDULER = 'train:scheduler'


@dataclass(frozen=True)
class Presets:
    """The presets of a study.

    Attributes:
        file: Its option file.
        study: Its name.
        names: In the order of the file; the others are compared with the first.
        keys: Options that presets set, ``section:key``: their networks may differ in these.
        experiments: The preset, by the name of an experiment without its seed.
        length: Iterations of the others, if a preset sets ``train:total_iter``: its end is then compared with theirs.
    """

    file: str
    study: str
    names: Collection[str]
    keys: tuple[str, ...]
    experiments: Mapping[str, str]
    length: int | None

    def name_of(self, experiment: str, seed: int, where: str) -> str:
        """The preset of an experiment; raises ``UserError`` if the study has no such experiment."""
        found = self.experiments.get(experiment.removesuffix(f'_seed{seed}'))
        if found is None:
            raise UserError(f'{where}: its experiment {experiment or "(none stated)"!r} is not of {self.file}; give '
                            'networks of that study alone')
        return found

    def apart(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """A training record without what presets set; the schedule of the learning rate goes with the length."""
        keys = (*self.keys, SCHEDULER) if self.length else self.keys
        return {key: value for key, value in record.items()
                if not any(key == one or key.startswith(f'{one}:') for one in keys)}


def read_presets(file: str | os.PathLike) -> Presets:
    """Read the presets of a study.

    Raises:
        UserError: The file cannot be read, or its study has no presets, or axes beside them other than the length of
            training.
    """
    study = load(Path(file))
    others = [axis for axis in study.axes if axis not in (PRESET, LENGTH)]
    if PRESET not in study.axes:
        raise UserError(f'{file}: has no study: presets; without --study, networks are named after their dropout')
    if others:
        raise UserError(f'{file}: has the axis {others[0]} beside its presets; give a study of presets, at most with '
                        f'the axis {LENGTH}')
    experiments = {cell.experiment.removesuffix(f'_seed{cell.seed}'): cell.values[PRESET] for cell in study.cells}
    length = int(study.options['train']['total_iter']) if LENGTH in study.preset_keys else None
    return Presets(str(file), study.name, study.axes[PRESET], study.preset_keys, experiments, length)
