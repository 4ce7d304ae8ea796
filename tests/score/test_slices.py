"""Which frames an example has, and the requests for ABX that make no sense."""

from dataclasses import replace

import numpy as np
import pytest

from speechvq.errors import BadSetting
from speechvq.score.abx import AbxSettings, abx
from speechvq.score.slices import frame_span

from .abx_twin import made


def test_slices():
    for rate, first, end in ((100, 29, 47), (50, 15, 24), (25, 7, 12)):
        assert frame_span(0.2925, 0.4725, rate) == (first, end)
        assert frame_span(0.2925, 0.4725, rate, librilight_bug=True) == (first, end - 1)
    assert frame_span(0.29, 0.31, 50) == (14, 16)  # both ends are exactly centres


def test_slices_equal_a_walk_over_the_centres():
    draw = np.random.default_rng()
    for _ in range(300):
        rate = int(draw.choice([20, 25, 40, 50, 100]))
        onset = int(draw.integers(0, 5000))
        offset = onset + int(draw.integers(1, 3000))
        # In whole numbers: i + 1/2 over the rate against ten-thousandths of a second.
        inside = [i for i in range(900) if 2 * onset * rate <= (2 * i + 1) * 10000 <= 2 * offset * rate]
        first, end = frame_span(onset / 10000, offset / 10000, rate)
        assert list(range(first, end)) == inside


def test_items_without_frames_are_left_out_and_counted(caplog: pytest.LogCaptureFixture):
    streams, items = made(9)
    whole = abx(streams, items)
    bad = [replace(items[0], onset=1.15, offset=1.3), replace(items[1], onset=0.011, offset=0.012)]
    score = abx(streams, [*items, *bad])
    assert (score.left_out, score.items, score.error) == (2, whole.items, whole.error)
    assert "2 of 92 items have no frame" in caplog.text


def test_impossible_requests_are_refused_in_words():
    streams, items = made(10)
    with pytest.raises(BadSetting, match="speaker must be within or across, not 'between'"):
        AbxSettings(speaker="between")
    with pytest.raises(BadSetting, match="knows the distances"):
        AbxSettings(distance="manhattan")
    with pytest.raises(BadSetting, match="max_size_group must be at least 2"):
        AbxSettings(max_size_group=1)
    with pytest.raises(BadSetting, match="1 of 6 files of the items have no quantized"):
        abx(streams[1:], items)
    with pytest.raises(BadSetting, match="no items"):
        abx(streams, [])
    with pytest.raises(BadSetting, match="identical compares single numbers"):
        abx(streams, items, settings=AbxSettings(distance="identical"))
    with pytest.raises(BadSetting, match="has no latents"):
        abx([replace(s, latents=None) for s in streams], items, representation="latents")
    with pytest.raises(BadSetting, match="one frame rate"):
        abx([streams[0], replace(streams[1], frame_rate=25.0)], items)
    with pytest.raises(BadSetting, match="the same name"):
        abx([streams[0], streams[0]], items)
    one = [item for item in items if item.speaker == "u"]
    with pytest.raises(BadSetting, match="make no triphone triple across"):
        abx(streams, one, settings=AbxSettings(speaker="across"))
    broken = [replace(s, quantized=np.full_like(s.quantized, np.nan)) for s in streams]
    with pytest.raises(BadSetting, match="not all finite"):
        abx(broken, items)
    with pytest.raises(BadSetting, match="not one of 1 items has a frame"):
        abx(streams, [replace(items[0], onset=0.011, offset=0.012)])
