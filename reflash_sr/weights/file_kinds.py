"""Files that are no weights, told by how they begin: what they are, and what to do instead."""

from __future__ import annotations

import os
import re
import zipfile

_WEB = 'is a web page, not weights: the download failed; open the link in a browser, and save the file behind it'
_PACKED = 'is a packed archive; unpack it, and name the weights file inside'
_IMAGE = 'is a picture, not weights; the weights file comes first'
TORCH = (b'PK\x03\x04', b'\x80\x02\x8a\x0al\xfc\x9cF\xf9')  # a zip archive; before 1.6, a pickled magic number
_BEGINS = (
    (rb'version https://git-lfs', "is a pointer of Git LFS, not the file itself; fetch it with 'git lfs pull'"),
    (rb'\s*<(?:!doctype|html|head|\?xml)', _WEB),
    (rb'\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf\x27|Rar!|\x28\xb5\x2f\xfd', _PACKED),
    (rb'\x89PNG|\xff\xd8\xff|GIF8|RIFF....WEBP', _IMAGE),
    (rb'\x08[\x01-\x20](?:\x12|:)', 'is an ONNX graph, not weights; give the .pth or .safetensors file that it was '
     'made from'),
    (rb'\x89HDF', 'is an HDF5 file of Keras; give weights of PyTorch'),
    (rb'GGUF', 'is a GGUF file; give a .pth or .safetensors file'),
    (rb'\x93NUMPY', 'is a NumPy array; save the weights by name, with torch.save(dict, path)'),
    (rb'7767517\s', 'is a network of ncnn; give the .pth file that it was made from'),
    (rb'\s*\{\s*"', 'is JSON, not weights; give the .pth or .safetensors file beside it'),
    (rb'\x80[\x02-\x05](?!\x8a\x0al\xfc\x9cF\xf9)', 'is a Python pickle, which torch.save did not write, and may run '
     'code; where it was made, save the weights with torch.save(net.state_dict(), path)'),
)  # yapf: disable


def is_safetensors(head: bytes, size: int) -> bool:
    """Whether a file of ``size`` bytes begins like a ``.safetensors`` file: length of a header, and a header."""
    return len(head) > 8 and head[8:9] == b'{' and int.from_bytes(head[:8], 'little') <= size - 8


def other_kind(path: str | os.PathLike, head: bytes) -> str:
    """Say what a file is that is no weights; empty if it may be weights.

    Args:
        head: Its first bytes, 64 or more if it has them.
    """
    if not head:
        return 'is empty; copy or download it again'
    if found := next((what for begin, what in _BEGINS if re.match(begin, head, re.IGNORECASE | re.DOTALL)), None):
        return found
    return _in_zip(path) if head[:4] == b'PK\x03\x04' else ''


def _in_zip(path: str | os.PathLike) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return ''  # damaged, which the reader of weights says
    if any(re.match(r'[^/]*/(code/|constants\.pkl$)', name) for name in names):
        return ("is a TorchScript program, not weights; save its weights: "
                "torch.save(torch.jit.load('FILE').state_dict(), 'weights.pth')")
    if any(name.endswith('/data.pkl') for name in names):
        return ''
    if names and all(name.endswith('.npy') for name in names):
        return ('is an archive of NumPy arrays; save them as tensors: torch.save({name: torch.tensor(value) for name, '
                "value in numpy.load('FILE').items()}, 'weights.pth')")
    inside = [name for name in names if name.lower().endswith(('.pth', '.pt', '.ckpt', '.safetensors', '.bin'))]
    return f'is a zip archive of {inside[0][:80]}; unpack it' if inside else 'is a zip archive, not weights; unpack it'
