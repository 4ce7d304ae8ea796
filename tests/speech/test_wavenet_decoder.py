"""The WaveNet decoder: causality, generation against the parallel pass, batches, streams, learning."""

import math
from pathlib import Path

import pytest
import soundfile
import torch
from torch import Tensor

from speechvq.codec import DECODERS, Batch
from speechvq.errors import BadSetting, UnknownName, UnknownSpeaker
from speechvq.nets.sampling import Sampling, Uniforms
from speechvq.nets.wavenet import Stack
from speechvq.quantize import VectorQuantizer
from speechvq.speech.amplitudes import Output
from speechvq.speech.encoder import MelEncoder
from speechvq.speech.samplewise import windows
from speechvq.speech.wavenet import WaveNetDecoder

SHORT = Path(__file__).parent.parent / "assets" / "slt_short.flac"
STACK = Stack(layers=6, stacks=2, residual=12, gate=10, skip=14, post=16)
OUTPUTS = [Output(), Output("logistics", mixtures=3)]


def decoder(output: Output = OUTPUTS[0], **more) -> WaveNetDecoder:
    torch.manual_seed(0)
    settings = {"dim": 5, "hop": 8, "stack": STACK, "cond_channels": 6, "voice_channels": 4, "output": output}
    return WaveNetDecoder(("ann", "bob"), **(settings | more)).eval()


def batch(signal: Tensor, mask: Tensor | None = None) -> Batch:
    return Batch(signal, mask, {"speaker": torch.zeros(len(signal), dtype=torch.int64)})


def sound(rows: int, samples: int) -> Tensor:
    return (0.3 * torch.randn(rows, 1, samples)).clamp(-1, 1)


def nats_by_sample(net: WaveNetDecoder, vectors: Tensor, signal: Tensor) -> Tensor:
    """The loss of one sample at a time, by masks that leave only that sample."""
    eye = torch.eye(signal.shape[2], dtype=torch.bool)
    with torch.no_grad():
        return torch.stack(
            [net.reconstruct(vectors, batch(signal, m[None])).losses["sound/nll"] for m in eye]
        )


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_sample_is_predicted_from_earlier_samples_only(output: Output):
    net = decoder(output)
    with torch.no_grad():
        for layer in (*net.net.dilated, *net.net.leave):
            layer.weight.mul_(3)  # so that the farthest sample shows in float32
    vectors, signal = torch.randn(1, 5, 6), sound(1, 48)
    changed = signal.clone()
    changed[0, 0, 20] = -changed[0, 0, 20]
    moved = nats_by_sample(net, vectors, signal) != nats_by_sample(net, vectors, changed)
    # At 20 the target itself changed; the input of 21 is sample 20, and 15 samples see it.
    assert moved.nonzero()[:, 0].tolist() == list(range(20, 36))


def test_the_loss_is_the_mean_over_valid_samples_whatever_lies_beyond():
    net = decoder()
    vectors, signal = torch.randn(2, 5, 6), sound(2, 48)
    mask = torch.arange(48) < torch.tensor([[48], [19]])
    loss = net.reconstruct(vectors, batch(signal, mask)).losses["sound/nll"]
    other = torch.where(mask[:, None], signal, 0.9)
    assert torch.equal(net.reconstruct(vectors, batch(other, mask)).losses["sound/nll"], loss)
    each = [nats_by_sample(net, vectors[i : i + 1], signal[i : i + 1])[:n] for i, n in enumerate((48, 19))]
    assert loss.item() == pytest.approx(torch.cat(each).mean().item(), abs=1e-5)


def test_a_signal_shorter_or_longer_than_the_codes_is_fitted():
    net = decoder()
    vectors, signal = torch.randn(1, 5, 6), sound(1, 50)
    exact = net.reconstruct(vectors, batch(signal[..., :48])).losses["sound/nll"]
    assert torch.equal(net.reconstruct(vectors, batch(signal)).losses["sound/nll"], exact)
    short = net.reconstruct(vectors, batch(signal[..., :45])).losses["sound/nll"]
    assert short.item() == pytest.approx(
        nats_by_sample(net, vectors, signal[..., :48])[:45].mean().item(), abs=1e-5
    )


@pytest.mark.parametrize("output", OUTPUTS)
def test_generation_is_the_parallel_pass_with_the_same_noise(output: Output):
    net = decoder(output)
    vectors = torch.randn(2, 5, 9)
    wave = net.generate(vectors, speaker=torch.tensor([1, 0]), sampling=Sampling(seed=3))
    assert wave.shape == (2, 1, 72)
    steps = net.amplitudes.steps(wave[:, 0])
    before = torch.cat([net.amplitudes.steps(torch.zeros(2, 1)), steps[:, :-1]], dim=1)
    with torch.no_grad():
        conditions = net.net.conditions(net.context(vectors), net.voice(torch.tensor([1, 0])))
        parallel = net.net(net.amplitudes(before), conditions)
    noise = Uniforms(3, 2).draw(72 * net.amplitudes.draws).view(2, 72, -1)
    again = [net.amplitudes.draw(parallel[..., t], Sampling(), noise[:, t]) for t in range(72)]
    # Rounding in the last digits may move a draw by one step of 65536.
    assert (torch.stack(again, 1) - steps).abs().max() <= (1 if output.kind == "logistics" else 0)


@pytest.mark.parametrize("output", OUTPUTS)
def test_rows_of_different_lengths_sound_as_they_would_in_any_batch(output: Output):
    net = decoder(output)
    mask = torch.arange(9) < torch.tensor([[4], [9], [0], [7]])
    vectors = torch.randn(4, 5, 9) * mask[:, None]
    together = net.generate(vectors, mask, speaker="bob")
    assert together.shape == (4, 1, 72)
    full = net.generate(vectors, speaker="bob")
    for row, codes in enumerate((4, 9, 0, 7)):
        assert torch.allclose(together[row, 0, : codes * 8], full[row, 0, : codes * 8], atol=1e-4)
        assert not together[row, 0, codes * 8 :].any()
    first = net.generate(vectors[:1, :, :4], speaker="bob")
    assert torch.allclose(first[0], together[0, :, :32], atol=1e-4)


@pytest.mark.parametrize("pieces", [[1] * 9, [4, 5], [2, 1, 6], [9]])
def test_a_stream_is_the_whole_without_a_seam(pieces: list[int]):
    net = decoder()
    vectors = torch.randn(2, 5, 9)
    whole = net.generate(vectors, speaker="ann", seed=4)
    made = list(net.stream(iter(vectors.split(pieces, dim=2)), speaker="ann", seed=4))
    assert torch.equal(torch.cat(made, dim=2), whole)
    assert list(net.stream(iter([]), speaker="ann")) == []


def test_in_mixed_precision_it_says_the_same():
    net, vectors = decoder(), torch.randn(2, 5, 40)
    wanted = net.generate(vectors, speaker="ann", seed=3)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(net.generate(vectors, speaker="ann", seed=3), wanted)


def test_equal_seeds_give_equal_sound_and_other_seeds_other_sound():
    net, vectors = decoder(), torch.randn(1, 5, 6)
    first, again, other = (net.generate(vectors, speaker="ann", seed=s) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    likeliest = net.generate(vectors, speaker="ann", sampling=Sampling(temperature=0))
    assert torch.equal(likeliest, net.generate(vectors, speaker="ann", sampling=Sampling(top_k=1, seed=9)))


def test_training_windows_lie_in_the_valid_codes_and_stay_aligned():
    net = decoder(window=16).train()
    count = torch.arange(48).expand(200, 48)
    local = torch.arange(6.0).expand(200, 3, 6)
    mask = count < torch.tensor([48, 29]).repeat(100)[:, None]
    codes, samples, valid = windows(net.window, net.hop, local, count, mask)
    assert codes.shape == (200, 3, 2)
    assert torch.equal(samples[:, ::8] // 8, codes[:, 0].long())
    assert (samples.diff(dim=1) == 1).all()
    assert valid.all()
    assert set(samples[0::2, 0].tolist()) == {0, 8, 16, 24, 32}
    assert set(samples[1::2, 0].tolist()) == {0, 8}
    loss = net.reconstruct(torch.randn(2, 5, 6), batch(sound(2, 48))).losses["sound/nll"]
    assert 0 < loss.item() < 20


def test_voices_by_name_row_and_embedding():
    net, vectors = decoder(), torch.randn(2, 5, 4)
    by_name = net.generate(vectors, speaker="bob")
    assert torch.equal(by_name, net.generate(vectors, speaker=torch.tensor([1, 1])))
    assert net.generate(vectors, speaker=torch.randn(2, 256)).shape == (2, 1, 32)
    with pytest.raises(UnknownSpeaker, match="ann, bob"):
        net.generate(vectors, speaker="zoe")
    with pytest.raises(BadSetting, match="which voice"):
        net.generate(vectors)
    with pytest.raises(BadSetting, match="no option volume"):
        net.generate(vectors, speaker="ann", volume=3)


def test_embeddings_of_a_batch_are_drawn_to_their_rows():
    net = decoder().train()
    given = Batch(
        sound(4, 48), None, {"speaker": torch.tensor([0, 1, 0, 1]), "embedding": torch.randn(4, 256)}
    )
    losses = net.reconstruct(torch.randn(4, 5, 6), given).losses
    assert set(losses) == {"sound/nll", "voice/embedding"}
    losses["voice/embedding"].backward()
    assert net.voice.table.weight.grad is None
    assert net.voice.projection[0].weight.grad.abs().sum() > 0


def test_a_decoder_without_voices():
    net = WaveNetDecoder((), dim=5, hop=8, stack=STACK, cond_channels=6).eval()
    assert net.generate(torch.randn(1, 5, 3)).shape == (1, 1, 24)
    assert set(net.reconstruct(torch.randn(1, 5, 3), Batch(sound(1, 24))).losses) == {"sound/nll"}


def test_the_preset_has_the_parameters_of_its_network_and_the_table_makes_it_again():
    net = DECODERS.build({"name": "wavenet", "speakers": []})
    context = 64 * 128 * 3 + 128
    assert sum(p.numel() for p in net.parameters()) == 1_758_912 + context
    assert net.receptive_field == 3070
    again = DECODERS.build(decoder(OUTPUTS[1]).spec)
    assert again.spec == decoder(OUTPUTS[1]).spec
    assert again.net.stack == STACK


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"stack": "huge"}, BadSetting),
        ({"hop": 0}, BadSetting),
        ({"jitter": 2}, BadSetting),
        ({"output": {"kind": "gauss"}}, BadSetting),
        ({"output": {"levels": 1}}, BadSetting),
        ({"output": {"mixtures": 0}}, BadSetting),
        ({"stack": {"depth": 3}}, UnknownName),
    ],
)
def test_wrong_settings_are_sentences(wrong: dict, error: type):
    with pytest.raises(error):
        DECODERS.build({"name": "wavenet", "speakers": ["ann"]} | wrong)


def test_a_second_of_speech_is_learned_through_its_codes():
    torch.manual_seed(0)
    wave = torch.from_numpy(soundfile.read(SHORT, dtype="float32")[0])[None, None, 4800:20800]
    encoder = MelEncoder(16, channels=64, dilations=(1, 2))
    quantizer = VectorQuantizer(16, 64)
    stack = Stack(layers=8, stacks=2, residual=32, gate=32, skip=64, post=64)
    net = WaveNetDecoder(
        ("slt",), dim=16, hop=320, stack=stack, cond_channels=32, voice_channels=4, window=1280
    )
    parts = torch.nn.ModuleList([encoder, quantizer, net])
    adam = torch.optim.Adam(parts.parameters(), lr=1e-2)
    four = batch(wave.expand(4, -1, -1))
    for step in range(200):
        for group in adam.param_groups:
            group["lr"] = 1e-2 * min(1, (201 - step) / 120)
        quantized = quantizer(encoder(wave))
        losses = net.reconstruct(quantized.vectors.expand(4, -1, -1), four).losses | quantized.losses
        adam.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(parts.parameters(), 1.0)
        adam.step()
    parts.eval()
    with torch.no_grad():
        vectors = quantizer(encoder(wave)).vectors
        true, shuffled = (
            net.reconstruct(v, batch(wave)).losses["sound/nll"].item()
            for v in (vectors, vectors[:, :, torch.randperm(vectors.shape[2])])
        )
    assert true < 2.0 < math.log(256)
    assert shuffled > true + 0.3
