"""Measuring without a folder: scores in memory, the same as those of the command."""

import csv

import pandas as pd
import pytest
import torch

from reflash_sr.commands.evaluate_degradations import Settings, evaluate
from reflash_sr.errors import UserError
from reflash_sr.evaluation.measure_networks import Observer, measure_networks
from reflash_sr.weights.network_from_file import open_network
from tests.commands.test_evaluate_degradations import save_network, sets_of


@pytest.fixture
def networks(tmp_path):
    return [open_network(save_network(tmp_path / f'{name}.pth', seed)) for seed, name in enumerate('ab')]


def test_scores_in_memory_are_those_of_the_command(networks, image_folder, tmp_path):
    settings = Settings(('psnr', 'ssim'))
    scores = measure_networks(networks, sets_of(image_folder), settings)
    assert list(pd.DataFrame(scores).columns) == ['method', 'dataset', 'degradation', 'image', 'metric', 'value']
    evaluate(networks, sets_of(image_folder), tmp_path / 'out', settings)
    with open(tmp_path / 'out' / 'scores.csv', encoding='utf-8', newline='') as file:
        written = [tuple(row.values()) for row in csv.DictReader(file)]
    assert written == [(*list(vars(one).values())[:-1], repr(one.value)) for one in scores]


def test_an_observer_sees_every_image_and_is_not_asked_to_measure_again(networks, image_folder):

    class Watching(Observer):
        def __init__(self):
            super().__init__()
            self.seen = []

        def keep(self, task, results, lq, gt):
            self.seen += [(*task.where, label, sr.shape == gt.shape) for label, sr in results.items()]

        def add(self, scores):
            self.measured.update((score.key, score) for score in scores)

    watching = Watching()
    scores = measure_networks(networks, sets_of(image_folder), observer=watching)
    assert len(watching.seen) == len(set(watching.seen)) == len(scores) and all(fits for *_, fits in watching.seen)
    watching.seen.clear()
    assert measure_networks(networks, sets_of(image_folder), observer=watching) == scores and not watching.seen


def test_what_cannot_be_measured_is_a_users_mistake(networks, image_folder, tmp_path):
    with pytest.raises(UserError, match="metrics: 'snr' is not known"):
        Settings(('snr',))
    torch.manual_seed(0)
    large = open_network(save_network(tmp_path / 'x2.pth', upscale=2))
    with pytest.raises(UserError, match='evaluate networks of one scale together'):
        measure_networks([*networks, large], sets_of(image_folder))
    with pytest.raises(UserError, match='too small for psnr with crop_border 40'):
        measure_networks(networks, sets_of(image_folder), Settings(crop_border=40))
