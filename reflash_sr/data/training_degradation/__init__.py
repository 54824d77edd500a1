"""The training degradation: the second-order degradation of Real-ESRGAN, on arrays."""
