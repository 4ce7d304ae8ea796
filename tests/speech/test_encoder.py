"""Encoders: the papers' lengths, receptive fields and sizes, and that padding and cuts change nothing."""

import pytest
import torch

from speechvq.errors import BadSetting
from speechvq.nets.conv import Conv1d
from speechvq.speech.encoder import MelEncoder, StridedEncoder

RATES = (25, 50, 100)


def _size(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("samples", "codes"), [(64, 1), (127, 1), (128, 2), (5120, 80), (7680, 120), (6656, 104), (16000, 250)]
)
def test_paper64_gives_a_code_every_64_samples(samples, codes):
    encoder = StridedEncoder(8, channels=8).eval()
    assert encoder.grid((samples,)) == (codes,)
    assert encoder(torch.randn(1, 1, samples)).shape == (1, 8, codes)


def test_paper128_turns_the_papers_crop_into_320_codes():
    assert StridedEncoder(8, preset="paper128", channels=8).grid((40960,)) == (320,)


@pytest.mark.parametrize("samples", [640, 1279, 1280, 16000])
def test_phone640_gives_25_codes_a_second(samples):
    encoder = StridedEncoder(8, preset="phone640", channels=8).eval()
    assert encoder(torch.randn(1, 1, samples)).shape[2] == encoder.grid((samples,))[0] == samples // 640


def test_too_few_samples_are_refused():
    with pytest.raises(BadSetting, match="63 samples are too short"):
        StridedEncoder(8, channels=8).grid((63,))


@pytest.mark.parametrize(("preset", "field"), [("paper64", 190), ("paper128", 382), ("phone640", 894)])
def test_receptive_field_is_what_a_gradient_reaches(preset, field):
    encoder = StridedEncoder(4, preset=preset, channels=4).eval()
    assert encoder.receptive_field == field
    wave = torch.randn(1, 1, 8 * encoder.hop, requires_grad=True)
    # Linear layers alone, so that a closed ReLU hides nothing.
    x = wave
    for layer in encoder.layers:
        x = layer(x)
    x[0, :, 4].sum().backward()
    seen = wave.grad[0, 0].nonzero()
    assert int(seen[-1] - seen[0]) + 1 == field


@pytest.mark.parametrize(
    ("channels", "count"), [(128, 337_216), (256, 1_329_728), (512, 5_280_832), (768, 11_853_376)]
)
def test_strided_parameter_counts(channels, count):
    assert _size(StridedEncoder(64, channels=channels)) == count


@pytest.mark.parametrize(("features", "count"), [("mfcc", 10_172_992), ("logmel", 10_267_456)])
def test_chorowski_parameter_counts(features, count):
    assert _size(MelEncoder(64, layout="chorowski", features=features, channels=768)) == count


def test_bshall_is_half_a_frame_short_at_each_end():
    encoder = MelEncoder(8, layout="bshall", channels=8).eval()
    for samples, codes in ((16000, 49), (16160, 50)):
        assert encoder.grid((samples,)) == (codes,)
        assert encoder(torch.randn(1, 1, samples)).shape[2] == codes


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("samples", [640, 799, 1279, 1280, 16_159, 16_160])
def test_blocks_give_a_vector_every_hop(rate, samples):
    encoder = MelEncoder(8, channels=8, frame_rate=rate).eval()
    codes = samples // (16_000 // rate)
    assert encoder.hop * rate == 16_000
    assert encoder.grid((samples,)) == (codes,)
    assert encoder(torch.randn(2, 1, samples)).shape == (2, 8, codes)


def test_less_than_a_hop_is_refused_at_every_rate():
    for rate in RATES:
        with pytest.raises(BadSetting, match=f"which needs {16_000 // rate}"):
            MelEncoder(8, channels=8, frame_rate=rate).grid((16_000 // rate - 1,))


@pytest.mark.parametrize("rate", RATES)
def test_a_vector_sees_as_far_as_is_said_and_no_further(rate):
    encoder = MelEncoder(4, channels=4, dilations=(1,), frame_rate=rate, remove_mean=False).eval()
    place, hop = 20, encoder.hop
    # Layers without activations and norms between them, so that nothing is hidden.
    linear = [layer for layer in encoder.layers if isinstance(layer, torch.nn.Conv1d)]
    frames = torch.zeros(1, 80, 40 * hop // 160, requires_grad=True)
    x = frames
    for layer in linear:
        x = layer(x)
    x = encoder.layers[-2].spread(x)
    x[..., place].sum().backward()
    seen = frames.grad[0].abs().sum(0).nonzero()
    assert (int(seen[-1] - seen[0])) * 160 + 400 == encoder.receptive_field
    middle = (int(seen[-1] + seen[0]) + 1) / 2 * 160
    assert middle == (place + 0.5) * hop


def test_other_rates_are_of_the_blocks_only():
    for settings in ({"frame_rate": 40}, {"frame_rate": 25, "layout": "bshall"}):
        with pytest.raises(BadSetting, match=r"layout blocks gives 25, 50 or 100"):
            MelEncoder(8, **settings)


def test_fifty_a_second_is_what_it_was():
    torch.manual_seed(3)
    encoder = MelEncoder(4, channels=4, dilations=(1,))
    torch.manual_seed(3)
    first, halve = Conv1d(80, 4, 3, padding=1), Conv1d(4, 4, 4, 2, 1)
    assert torch.equal(encoder.layers[0].weight, first.weight)
    assert torch.equal(encoder.layers[2].weight, halve.weight)
    names = [name for name in encoder.state_dict() if name.endswith("weight")]
    assert names == [
        "layers.0.weight", "layers.2.weight", "layers.3.norm.weight", "layers.3.spread.weight",
        "layers.3.mix.weight", "layers.4.weight", "project.weight",
    ]  # fmt: skip


@pytest.mark.parametrize("layout", ["blocks", "chorowski", "bshall"])
def test_mel_encoder_sees_no_further_than_it_says(layout):
    encoder = MelEncoder(8, layout=layout, channels=8, dilations=(1, 2), remove_mean=False).eval()
    wave = torch.randn(1, 1, 320 * 200)
    changed = wave.clone()
    changed[..., 32_000] += 1.0
    differs = (encoder(wave) != encoder(changed)).any(1)[0].nonzero()
    assert int(differs[-1] - differs[0]) * 320 <= encoder.receptive_field


@pytest.mark.parametrize("rate", RATES)
def test_padding_changes_no_vector_of_a_mel_encoder(rate):
    encoder = MelEncoder(8, channels=16, dilations=(1, 2), frame_rate=rate).eval()
    wave = torch.randn(1, 1, 320 * 60)
    padded = torch.nn.functional.pad(wave, (0, 320 * 40))
    mask = torch.arange(padded.shape[2])[None] < wave.shape[2]
    inner = (320 * 60 - encoder.receptive_field) // encoder.hop - 1
    assert inner > 0
    assert encoder.code_mask(mask).sum() == encoder.grid((320 * 60,))[0] == encoder(wave).shape[2]
    torch.testing.assert_close(
        encoder(padded, mask)[..., :inner], encoder(wave)[..., :inner], rtol=1e-4, atol=1e-5
    )


def test_gain_changes_no_vector_when_the_mean_is_removed():
    encoder = MelEncoder(8, channels=16).eval()
    wave = torch.randn(1, 1, 16000) * 0.3
    torch.testing.assert_close(encoder(wave * 0.5), encoder(wave), rtol=1e-3, atol=1e-4)


def test_warp_moves_bands_in_training_only():
    encoder = MelEncoder(8, channels=16, warp=2.5)
    wave = torch.randn(4, 1, 16000)
    torch.testing.assert_close(encoder.eval()(wave), encoder(wave))
    assert not torch.equal(encoder.train()(wave), encoder(wave))
    with pytest.raises(BadSetting, match="warp"):
        MelEncoder(8, features="mfcc", warp=1.0)


def test_unknown_names_are_refused():
    with pytest.raises(BadSetting, match="known: paper64"):
        StridedEncoder(8, preset="paper32")
    with pytest.raises(BadSetting, match="layouts blocks"):
        MelEncoder(8, layout="other")
