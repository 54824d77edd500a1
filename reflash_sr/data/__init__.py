"""Datasets and degradations; importing this package registers the datasets in BasicSR's ``DATASET_REGISTRY``."""

from reflash_sr.data.degradation_test_dataset import DegradationTestDataset
from reflash_sr.data.real_degradation_dataset import RealDegradationDataset
from reflash_sr.data.sharpened_pair_dataset import SharpenedPairDataset
from reflash_sr.data.single_degradation_dataset import SingleDegradationDataset

__all__ = ['DegradationTestDataset', 'RealDegradationDataset', 'SharpenedPairDataset', 'SingleDegradationDataset']
