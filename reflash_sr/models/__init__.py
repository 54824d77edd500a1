"""Models; importing this package registers them in BasicSR's ``MODEL_REGISTRY`` and ``LOSS_REGISTRY``."""

from reflash_sr.models.align_loss import AlignLoss
from reflash_sr.models.reflash_sr_model import ReflashSRModel

__all__ = ['AlignLoss', 'ReflashSRModel']
