"""The GRU decoder: generation against the parallel pass, causality, batches, windows, learning, sizes."""

import pytest
import torch
from torch import Tensor

from speechvq.codec import DECODERS, Batch
from speechvq.errors import BadSetting, UnknownName, UnknownSpeaker
from speechvq.nets.sampling import Sampling, Uniforms, sample
from speechvq.speech.gru import GRUDecoder, Widths
from speechvq.speech.gru_step import Cell
from speechvq.speech.mulaw import mulaw_encode

WIDTHS = Widths(voice=4, context=6, sample=10, memory=14, post=12)


def decoder(**more) -> GRUDecoder:
    torch.manual_seed(0)
    return GRUDecoder(("ann", "bob"), **({"dim": 5, "hop": 8, "widths": WIDTHS} | more)).eval()


def batch(signal: Tensor, mask: Tensor | None = None) -> Batch:
    return Batch(signal, mask, {"speaker": torch.zeros(len(signal), dtype=torch.int64)})


def sound(rows: int, samples: int) -> Tensor:
    return (0.3 * torch.randn(rows, 1, samples)).clamp(-1, 1)


def nll(net: GRUDecoder, vectors: Tensor, given: Batch) -> Tensor:
    with torch.no_grad():
        return net.reconstruct(vectors, given).losses["sound/nll"]


def test_steps_have_the_logits_of_the_parallel_pass():
    net, vectors = decoder(), torch.randn(3, 5, 7)
    levels = torch.randint(256, (3, 56))
    with torch.no_grad():
        heard = net.hear(vectors, net.voice("ann").expand(3, -1))
        parallel = net.logits(levels, heard)
    cell = Cell(net.embedding, net.memory, net.first, net.last)
    state, made = cell.start(3), []
    for column, condition in enumerate(cell.conditions(heard)):
        for now in range(4):
            if column == 5 and now == 2:
                state = state.clone()  # what was saved in the middle goes on as if nothing had happened
            logits, state = cell.step(levels[:, column * 4 + now], condition, state)
            made.append(logits)
    assert (torch.stack(made, dim=2) - parallel).abs().max() < 1e-5


def test_published_widths_step_as_they_run():
    net = GRUDecoder(("a", "b", "c")).eval()
    levels = torch.randint(256, (2, 640))
    with torch.no_grad():
        heard = net.hear(torch.randn(2, 64, 2), net.voice(torch.tensor([0, 2])))
        parallel = net.logits(levels, heard)
    cell = Cell(net.embedding, net.memory, net.first, net.last)
    state, worst = cell.start(2), 0.0
    for column, condition in enumerate(cell.conditions(heard[:, :, :2])):
        for at in range(column * 160, column * 160 + 160):
            logits, state = cell.step(levels[:, at], condition, state)
            worst = max(worst, float((logits - parallel[..., at]).abs().max()))
    assert worst < 1e-5


def test_generation_is_the_parallel_pass_with_the_same_noise():
    net, vectors = decoder(), torch.randn(2, 5, 9)
    speaker = torch.tensor([1, 0])
    wave = net.generate(vectors, speaker=speaker, sampling=Sampling(seed=3))
    assert wave.shape == (2, 1, 72)
    steps = mulaw_encode(wave[:, 0])
    before = torch.cat([torch.full((2, 1), 128), steps[:, :-1]], dim=1)
    with torch.no_grad():
        logits = net.logits(before, net.hear(vectors, net.voice(speaker)))
    noise = Uniforms(3, 2).draw(72)
    again = [sample(logits[..., t], Sampling(), noise[:, t]) for t in range(72)]
    assert torch.equal(torch.stack(again, 1), steps)


@pytest.mark.parametrize("lead", [0, 3, 8])
def test_a_sample_is_predicted_from_earlier_samples_and_the_target_begins_at_the_lead(lead: int):
    net, vectors, signal = decoder(lead=lead), torch.randn(1, 5, 6), sound(1, 60)
    with torch.no_grad():
        before, steps, valid = net._targets(batch(signal), 6)
        assert torch.equal(steps, mulaw_encode(signal[:, 0, lead : lead + 48]))
        assert torch.equal(before[:, 1:], steps[:, :-1])
        assert before[0, 0] == (128 if lead == 0 else mulaw_encode(signal[0, 0, lead - 1]))
        assert valid.all()
        heard = net.hear(vectors, net.voice("ann"))
        changed = before.clone()
        changed[0, 20] = 255 - changed[0, 20]
        moved = (net.logits(before, heard) != net.logits(changed, heard)).any(1)[0]
    assert not moved[:20].any()
    assert moved[20:24].all()


def test_the_loss_of_a_padded_batch_is_that_of_its_rows_alone():
    net = decoder(lead=3)
    vectors, signal = torch.randn(3, 5, 6), sound(3, 60)
    codes, samples = torch.tensor([6, 2, 4]), torch.tensor([55, 20, 38])
    vectors = vectors * (torch.arange(6) < codes[:, None])[:, None]
    mask = torch.arange(60) < samples[:, None]
    together = nll(net, vectors, batch(torch.where(mask[:, None], signal, 0.9), mask))
    total, count = 0.0, 0
    for row, (k, n) in enumerate(zip(codes.tolist(), samples.tolist(), strict=True)):
        alone = nll(net, vectors[row : row + 1, :, :k], batch(signal[row : row + 1, :, :n]))
        predicted = min(k * 8, n - 3)
        total, count = total + float(alone) * predicted, count + predicted
    assert together.item() == pytest.approx(total / count, abs=1e-5)


def test_rows_of_different_lengths_sound_as_they_would_in_any_batch():
    net = decoder()
    lengths = (4, 9, 0, 7)
    mask = torch.arange(9) < torch.tensor(lengths)[:, None]
    vectors = torch.randn(4, 5, 9) * mask[:, None]
    together = net.generate(vectors, mask, speaker="bob")
    assert together.shape == (4, 1, 72)
    for row, codes in enumerate(lengths):
        assert not together[row, 0, codes * 8 :].any()
    first = net.generate(vectors[:1, :, :4], speaker="bob")
    assert torch.allclose(first[0], together[0, :, :32], atol=1e-4)
    two = net.generate(vectors[:2], mask[:2], speaker="bob")
    assert torch.allclose(two[1], together[1], atol=1e-4)
    assert not net.generate(vectors[2:3], mask[2:3], speaker="bob").any()


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


def test_voices_by_name_and_row_only():
    net, vectors = decoder(), torch.randn(2, 5, 3)
    by_name = net.generate(vectors, speaker="bob")
    assert torch.equal(by_name, net.generate(vectors, speaker=torch.tensor([1, 1])))
    with pytest.raises(UnknownSpeaker, match="ann, bob"):
        net.generate(vectors, speaker="zoe")
    with pytest.raises(BadSetting, match=r"no voice but those.*ann, bob"):
        net.generate(vectors, speaker=torch.randn(2, 256))
    with pytest.raises(BadSetting, match="which voice"):
        net.generate(vectors)
    with pytest.raises(BadSetting, match="no option volume"):
        net.generate(vectors, speaker="ann", volume=3)
    silent = GRUDecoder((), dim=5, hop=8, widths=WIDTHS).eval()
    assert silent.generate(vectors).shape == (2, 1, 24)
    assert nll(silent, vectors, Batch(sound(2, 24))).isfinite()


def test_a_window_is_a_part_of_the_whole_heard_in_context():
    net = decoder(window=12, jitter=0.0).train()
    vectors, signal = torch.randn(1, 5, 6).expand(64, -1, -1), sound(1, 48).expand(64, -1, -1)
    loss = nll(net, vectors, batch(signal))
    assert 0 < loss.item() < 20
    assert not torch.equal(loss, nll(net, vectors, batch(signal)))  # at another place
    net.eval()
    assert torch.equal(nll(net, vectors, batch(signal)), nll(net, vectors, batch(signal)))


def test_jitter_is_for_training_only():
    net, vectors, signal = decoder(jitter=1.0), torch.randn(2, 5, 6), sound(2, 48)
    still = nll(net, vectors, batch(signal))
    assert torch.equal(still, nll(net, vectors, batch(signal)))
    net.train()
    assert not torch.equal(still, nll(net, vectors, batch(signal)))
    assert net.jitter.probability == 1.0


def test_own_codes_take_the_place_of_the_codebooks():
    net = decoder(own_codes=7)
    net.own.codebook.copy_(torch.randn(7, 5))
    indices = torch.randint(7, (2, 4))
    vectors = net.own.codebook[indices].transpose(1, 2)
    torch.testing.assert_close(net.own(vectors), net.own.table(indices).transpose(1, 2))
    assert net.generate(vectors, speaker="ann").shape == (2, 1, 32)


@pytest.mark.parametrize(("speakers", "count"), [(102, 4_652_160), (113, 4_652_864)])
def test_sizes_are_the_published_ones(speakers: int, count: int):
    net = GRUDecoder(tuple(f"{i:03d}" for i in range(speakers)))
    assert sum(p.numel() for p in net.parameters()) == count
    if speakers == 102:
        own = GRUDecoder(net.speakers, own_codes=512)
        assert sum(p.numel() for p in own.parameters()) == 4_684_928


def test_the_table_makes_it_again():
    again = DECODERS.build(decoder(lead=3).spec)
    assert again.spec == decoder(lead=3).spec
    assert again.memory.hidden_size == 14


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"widths": "huge"}, BadSetting),
        ({"widths": {"memory": 0}}, BadSetting),
        ({"widths": {"depth": 3}}, UnknownName),
        ({"hop": 321}, BadSetting),
        ({"lead": -1}, BadSetting),
        ({"levels": 1}, BadSetting),
        ({"jitter": 2}, BadSetting),
    ],
)
def test_wrong_settings_are_sentences(wrong: dict, error: type):
    with pytest.raises(error):
        DECODERS.build({"name": "gru", "speakers": ["ann"]} | wrong)


def test_it_learns_to_speak_by_its_codes():
    """Three codes stand for three waves, in an order that only the codes tell."""
    net = decoder(jitter=0.0, widths=Widths(4, 8, 16, 32, 32)).train()
    codes = torch.randn(3, 5)
    waves = 0.5 * torch.sin(torch.arange(8) * torch.tensor([[0.4], [1.2], [2.4]]))

    def draw(rows: int) -> tuple[Tensor, Tensor]:
        order = torch.randint(3, (rows, 5))
        return codes[order].transpose(1, 2), waves[order].flatten(1)[:, None]

    adam = torch.optim.Adam(net.parameters(), lr=2e-2)
    for _ in range(40):
        vectors, signal = draw(16)
        loss = net.reconstruct(vectors, batch(signal)).losses["sound/nll"]
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        adam.step()
    net.eval()
    vectors, signal = draw(64)
    true = nll(net, vectors, batch(signal))
    shuffled = nll(net, vectors[:, :, [3, 4, 1, 0, 2]], batch(signal))
    assert true < 1
    assert shuffled > true + 0.3
