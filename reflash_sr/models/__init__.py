"""Models; importing this package registers them in BasicSR's ``MODEL_REGISTRY``."""

from reflash_sr.models.reflash_sr_model import ReflashSRModel

__all__ = ['ReflashSRModel']
