"""The second-order degradation of Real-ESRGAN, for training."""
