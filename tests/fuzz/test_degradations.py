"""Degradations of any composition, on images of any size."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reflash_sr.data.test_degradation.degradations import NAMED, degrade, mod_crop, noise_rng, parse
from reflash_sr.errors import UserError
from tests.fuzz.strategies import examples, is_one_line

STEPS = {
    'blur': st.floats(0.01, 50).map(lambda sigma: f'blur:{sigma:.2f}'),
    'down': st.sampled_from(('down', 'down:bicubic', 'down:bilinear', 'down:nearest', 'down:matlab')),
    'noise': st.floats(0.01, 255).map(lambda sigma: f'noise:{sigma:.2f}'),
    'jpeg': st.integers(1, 100).map(lambda quality: f'jpeg:{quality}'),
}


@st.composite
def compositions(draw):
    if draw(st.booleans()):
        return draw(st.sampled_from(NAMED))
    steps = draw(st.lists(st.sampled_from(list(STEPS)), min_size=1, max_size=4, unique=True))
    return '+'.join(draw(STEPS[step]) for step in steps)


@examples(40)
@given(name=compositions(), scale=st.integers(1, 8), height=st.integers(1, 90), width=st.integers(1, 90),
       seed=st.integers(0, 99), kind=st.sampled_from(('random', 'black', 'white', 'not contiguous')))
def test_any_composition_at_any_size(name, scale, height, width, seed, kind):
    height, width = max(height, scale), max(width, scale)
    gt = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    gt = {'random': gt, 'black': gt * 0, 'white': gt | 255, 'not contiguous': gt[::-1, ::-1]}[kind]
    gt = mod_crop(gt, scale)
    before = gt.copy()
    first, second = (degrade(gt, name, scale, noise_rng(seed, 'é.png', name)) for _ in range(2))
    assert first.shape == (height // scale, width // scale, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, second)
    assert np.array_equal(gt, before)


@examples(60)
@given(name=st.one_of(st.text(max_size=20), st.lists(st.sampled_from(
    ('blur', 'b', 'n', 'down', 'jpeg', 'noise', ':', '+', '0', '1', '50', '1e9', '-3', '.5', 'nan', ' ', '²', '٣')),
    max_size=8).map(''.join)))
def test_any_name_is_known_or_refused(name):
    try:
        steps = parse(name)
    except UserError as error:
        assert is_one_line(error, 'degradation')
    else:
        assert 'down' in steps
