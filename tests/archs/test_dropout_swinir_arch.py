"""DropoutSwinIR."""

import pytest
import torch
from basicsr.archs.swinir_arch import SwinIR

from reflash_sr.archs import DropoutSwinIR
from tests.archs.base import ArchTester


class TestDropoutSwinIR(ArchTester):
    dropout_class = DropoutSwinIR
    plain_class = SwinIR
    kwargs = {'img_size': 16, 'window_size': 8, 'depths': [1, 1], 'num_heads': [2, 2], 'embed_dim': 16, 'mlp_ratio': 1,
              'upscale': 4, 'upsampler': 'pixelshuffle', 'drop_path_rate': 0}
    scale_key = 'upscale'
    scales = (2, 3, 4)
    default_p = 0.5

    @pytest.mark.parametrize(('upsampler', 'upscale'), [('pixelshuffle', 4), ('nearest+conv', 4),
                                                        ('pixelshuffledirect', 2), ('', 1)])
    def test_every_upsampler(self, upsampler, upscale):
        net, plain = (cls(**{**self.kwargs, 'upsampler': upsampler, 'upscale': upscale})
                      for cls in (DropoutSwinIR, SwinIR))
        plain.load_state_dict(net.state_dict())
        x = self.input()
        assert not torch.equal(net.train()(x), net(x))
        assert torch.equal(net.eval()(x), plain.eval()(x))

    @pytest.mark.parametrize('position', ['B1', 'all-part'])
    @pytest.mark.parametrize('stage', ['branch', 'first'])
    def test_tokens_lose_channels_and_never_tokens(self, position, stage):
        net = self.build(dropout_position=position, dropout_stage=stage, dropout_p=0.5).train()
        path = {'B1': 'layers.0', 'all-part': f'layers.0.{"conv" if stage == "branch" else "residual_group"}'}[position]
        seen = []
        net.get_submodule(path).register_forward_hook(lambda module, args, output: seen.append(output))
        net(self.input())
        dropped = seen[0] == 0
        if seen[0].dim() == 3:  # (B, N, C)
            assert (dropped.all(1) == dropped.any(1)).all()
            assert not dropped.all(2).any()
        else:
            assert (dropped.flatten(2).all(2) == dropped.flatten(2).any(2)).all()
        assert dropped.any()
