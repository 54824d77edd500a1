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

DROPOUT_KEY = 'network_g:dropout_'
FOLLOWING = {LENGTH: ['train:scheduler'], 'path:': ['path'],  # by the beginning of a key, what follows from it
             'datasets:train:dataroot': ['datasets:train:images', 'datasets:train:files']}


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
        dropout: The options of dropout that presets set, without ``network_g:``, by preset.
    """

    file: str
    study: str
    names: Collection[str]
    keys: tuple[str, ...]
    experiments: Mapping[str, str]
    length: int | None
    dropout: Mapping[str, Mapping[str, Any]]

    def name_of(self, experiment: str, seed: int, network_g: Mapping[str, Any], where: str) -> str:
        """The preset of a network.

        Raises:
            UserError: The study has no such experiment, or other values of its dropout.
        """
        found = self.experiments.get(experiment.removesuffix(f'_seed{seed}'))
        if found is None:
            raise UserError(f'{where}: its experiment {experiment or "(none stated)"!r} is not of {self.file}; give '
                            'networks of that study alone')
        for key, value in self.dropout[found].items():
            if network_g.get(key) != value:
                raise UserError(f'{where}: was trained with {key} {network_g.get(key)}, but {self.file} has {value} in '
                                f'its preset {found}; give the file as it was')
        return found

    def split(self, record: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """A training record without what presets set, and that; with it goes what follows from it.

        That is the schedule of the learning rate with the length, the images with their folder, and a whole section
        with its type.
        """
        keys = [key.removesuffix(':type') for key in self.keys]
        keys += [one for prefix, follow in FOLLOWING.items() if any(key.startswith(prefix) for key in keys)
                 for one in follow]
        apart = {key for key in record if any(key == one or key.startswith(f'{one}:') for one in keys)}
        return ({key: value for key, value in record.items() if key not in apart},
                {key: value for key, value in record.items() if key in apart})

    @property
    def same_kind(self) -> bool:
        """Whether no preset changes the network itself."""
        return all(not key.startswith('network_g:') or key.startswith(DROPOUT_KEY) for key in self.keys)


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
    own = [key.removeprefix('network_g:') for key in study.preset_keys
           if key.startswith(DROPOUT_KEY) and not key.endswith('schedule')]  # shares of the run may be iterations later
    dropout = {cell.values[PRESET]: {key: cell.options['network_g'].get(key) for key in own} for cell in study.cells}
    return Presets(str(file), study.name, study.axes[PRESET], study.preset_keys, experiments, length, dropout)
