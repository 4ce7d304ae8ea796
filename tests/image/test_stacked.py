"""The second VQ-VAE: its three codes are used, say what PixelCNN cannot know, and bring codes back."""

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from speechvq.codec import Batch, Codec, Codes
from speechvq.errors import SpeechVQError
from speechvq.image.bits import bits_per_dim
from speechvq.image.second import CodesDecoder, CodesEncoder
from speechvq.image.sheet import sheet
from speechvq.image.stacked import code_nats, first_of, lend, media, stack
from speechvq.nets.sampling import Sampling
from speechvq.quantize import QUANTIZERS

CODES, SIDES, KINDS = 16, (5, 7), 12
TINY = {"layers": 3, "first": 5, "kernel": 3, "width": 16, "skip": 16, "post": 32, "condition": 16}
GROUPED = {"name": "grouped", "groups": 3, "codebook_size": 8}


def first(**quantizer: int) -> Codec:
    part = {"name": "vqvae", "colours": 1, "size": "tiny"}
    vector = {"name": "vector", "codebook_size": CODES, "start": {"by": "normal"}}
    parts = {"encoder": part | {"dim": 8}, "quantizer": vector | quantizer, "decoder": part}
    return Codec.build({"room": "image", "rate": 1} | parts).eval()


def stacked(below: Codec | None = None) -> Codec:
    parts = {"encoder": {"dim": 24, "channels": 16}, "decoder": {"dim": 24, "stacks": TINY}}
    return stack(below or first(), SIDES, quantizer=GROUPED, **parts)


def pictures(count: int = 2, height: int = 20, width: int = 28) -> torch.Tensor:
    return torch.randint(256, (count, 1, height, width)) / 127.5 - 1


def test_the_papers_sizes():
    quantizer = QUANTIZERS.build({"name": "grouped", "groups": 3, "codebook_size": 512}, dim=192).eval()
    encoder, decoder = CodesEncoder(192, 512, (21, 21)), CodesDecoder(192, 512, (21, 21))
    codes = torch.randint(512, (2, 1, 21, 21))
    few = quantizer.encode(encoder(codes))
    assert few.shape == (2, 3, 1, 1)
    assert few[0].numel() * math.log2(quantizer.codebook_size) == 27
    assert decoder.nats(quantizer.decode(few), codes).shape == codes.shape


def test_pictures_go_through_both_codecs_and_back():
    """Step by step with the two codecs that it was made of."""
    below = first()
    codec, picture = stacked(below).eval(), pictures()
    few = codec.encode(picture)
    assert few.indices.shape == (2, 3, 1, 1)
    codes = below.encode(picture).indices
    assert torch.equal(codec.encode(codes).indices, few.indices)
    assert torch.equal(codec.quantizer.encode(codec.encoder.second(codes)), few.indices)
    vectors = codec.quantizer.decode(few.indices)
    made = codec.decode(few, sampling=Sampling(seed=3))
    drawn = codec.decoder.second.draw(vectors, Sampling(seed=3))
    assert made.shape == picture.shape
    assert torch.equal(made, below.decode(Codes(drawn)))
    assert not torch.equal(made, codec.decode(few, sampling=Sampling(seed=4)))
    assert torch.equal(made, codec.decode(few, seed=3))
    assert torch.equal(made, codec.decode(few, sampling=Sampling(seed=4), seed=3))
    noisy = [codec.decode(few, draw=True, seed=seed) for seed in (3, 3, 4)]
    assert torch.equal(noisy[0], noisy[1])
    assert not torch.equal(noisy[0], made)
    assert not torch.equal(noisy[0], noisy[2])
    assert codec.decode(few, size=(9, 11)).shape == (2, 1, 9, 11)


def test_drawing_place_by_place_is_the_network_over_the_whole_grid():
    decoder = stacked().eval().decoder.second
    vectors = torch.randn(3, 24, 1, 1)
    drawn = decoder.draw(vectors, Sampling(temperature=0))
    assert drawn.shape == (3, 1, *SIDES)
    features = decoder.net(decoder.enter(drawn[:, 0]).movedim(3, 1), decoder._conditions(vectors))
    assert torch.equal(decoder.leave(features.movedim(1, 3)).argmax(3), drawn[:, 0])


def test_in_mixed_precision_it_draws_the_same():
    """As what a training in bf16-mixed shows is drawn."""
    decoder, vectors = stacked().eval().decoder.second, torch.randn(50, 24, 1, 1)
    wanted = decoder.draw(vectors, Sampling(seed=1))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(decoder.draw(vectors, Sampling(seed=1)), wanted)


def test_what_is_said_of_a_code_depends_on_those_before_it_only():
    decoder = stacked().decoder.second
    vectors, codes = torch.randn(1, 24, 1, 1), torch.randint(CODES, (1, 1, *SIDES))
    nats = decoder.nats(vectors, codes)
    changed = codes.clone()
    changed[0, 0, 2, 3] = (codes[0, 0, 2, 3] + 1) % CODES
    differs = (decoder.nats(vectors, changed) != nats).flatten().nonzero()[:, 0]
    assert differs[0] == 2 * 7 + 3
    assert not torch.equal(decoder.nats(-vectors, codes)[0, 0, 0, 0], nats[0, 0, 0, 0])


def test_the_latents_are_not_ignored():
    """Noisy pictures of twelve kinds: with another picture's latents the codes cost much more.

    Knowing a kind is worth log 12 nats to a PixelCNN that would else find it out along the way.
    """
    kinds = torch.randint(CODES, (KINDS, 1, *SIDES))

    def drawn(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        kind = torch.randint(KINDS, (count,))
        noise = torch.rand(count, 1, *SIDES) < 0.2
        return torch.where(noise, torch.randint(CODES, (count, 1, *SIDES)), kinds[kind]), kind

    codec = stacked()
    optimiser = torch.optim.Adam([p for p in codec.parameters() if p.requires_grad], 5e-3)
    for _ in range(200):
        output = codec(Batch(drawn(32)[0]))
        optimiser.zero_grad()
        output.loss.backward()
        optimiser.step()
    codec.eval()
    codes, kind = drawn(200)
    with torch.no_grad():
        found = codec.encode(codes)
        vectors = codec.quantizer.decode(found.indices)
        own = codec.decoder.second.nats(vectors, codes).flatten(1).sum(1)
        other = torch.stack([(kind != k).nonzero()[0, 0] for k in kind])
        swapped = codec.decoder.second.nats(vectors[other], codes).flatten(1).sum(1)
        mean = vectors.mean(0, keepdim=True).expand_as(vectors)
        none = codec.decoder.second.nats(mean, codes).flatten(1).sum(1)
    assert len(found.indices.flatten(1).unique(dim=0)) >= KINDS / 2
    assert (swapped > own).float().mean() > 0.9
    assert swapped.mean() > own.mean() + 10
    assert none.mean() > own.mean() + math.log(KINDS)


def test_it_is_a_prior_of_the_first_codec():
    codec, picture = stacked().eval(), pictures()
    codes = first_of(codec).encode(picture)
    nats = code_nats(codec, codes)
    assert nats.shape == (2, 1, *SIDES)
    vectors = codec.quantizer.decode(codec.encode(picture).indices)
    alone = codec.decoder.second.nats(vectors, codes.indices).flatten(1).sum(1)
    assert torch.allclose(nats.flatten(1).sum(1), alone + 9 * math.log(2))
    bits = bits_per_dim(first_of(codec), picture, code_nats=partial(code_nats, codec))
    uniform = bits_per_dim(first_of(codec), picture)
    saved = (35 * math.log(CODES) - nats.flatten(1).sum(1)) / (20 * 28 * math.log(2))
    assert torch.allclose(bits, uniform - saved, atol=1e-6)


def test_only_the_second_codec_learns():
    codec = stacked().train()
    before = {name: value.clone() for name, value in first_of(codec).state_dict().items()}
    codec.train()
    codec(Batch(torch.randint(CODES, (4, 1, *SIDES)))).loss.backward()
    assert all(p.grad is None for p in first_of(codec).parameters())
    assert all(torch.equal(before[name], value) for name, value in first_of(codec).state_dict().items())
    assert all(p.grad is not None for p in codec.encoder.second.parameters())
    assert not any(part.training for part in first_of(codec).modules())
    assert codec.encoder.second.training
    assert codec.quantizer.training


def test_it_is_saved_as_any_codec(tmp_path: Path):
    codec, picture = stacked().eval(), pictures()
    codec.save_pretrained(tmp_path)
    again = Codec.from_pretrained(tmp_path)
    assert again.config == codec.config
    assert again.fingerprint == codec.fingerprint
    assert torch.equal(again.encode(picture).indices, codec.encode(picture).indices)
    assert torch.equal(again.decode(again.encode(picture)), codec.decode(codec.encode(picture)))


def test_codes_of_another_first_codec_are_other_codes():
    below = first()
    codec, other = stacked(below), first()
    before = codec.fingerprint
    assert first_of(codec).fingerprint == below.fingerprint
    lend(codec, other)
    assert first_of(codec).fingerprint == other.fingerprint != below.fingerprint
    assert codec.fingerprint != before
    codes = other.encode(pictures())
    assert torch.equal(first_of(codec).decode(codes), other.decode(codes))


def test_what_is_shown_of_it():
    codec = stacked().eval()
    codes = torch.randint(CODES, (3, 1, *SIDES))
    page, words = media(codec, Batch(codes), columns=2, draws=2)
    few = codec.encode(codes[:2])
    rows = [first_of(codec).decode(Codes(codes[:2]))]
    rows += [codec.decode(few, sampling=Sampling(seed=seed)) for seed in (0, 1)]
    assert np.array_equal(page.array, sheet(torch.cat(rows), columns=2))
    assert str(words.array).split() == [str(code) for code in few.indices[0].flatten().tolist()]


def test_strange_codes_and_codecs_are_refused():
    codec = stacked().eval()
    with pytest.raises(SpeechVQError, match=r"codes \(B, 1, 5, 7\) are needed, not \(1, 1, 7, 5\)"):
        codec.encode(torch.zeros(1, 1, 7, 5, dtype=torch.int64))
    with pytest.raises(SpeechVQError, match="codes beyond 0 ... 15"):
        codec.encode(torch.full((1, 1, *SIDES), CODES))
    with pytest.raises(SpeechVQError, match="become 5 x 7 codes of 4 pixels a side, and not 6 x 7"):
        codec.encode(pictures(1, 24, 28))
    with pytest.raises(SpeechVQError, match="it knows size, draw, seed"):
        codec.decode(Codes(torch.zeros(1, 3, 1, 1, dtype=torch.int64)), colour="red")
    with pytest.raises(SpeechVQError, match="has 2 x 16 codes a place"):
        stacked(first(name="residual", num_codebooks=2))
    with pytest.raises(SpeechVQError, match="of pictures is needed for the first, not of room 'speech'"):
        Codec.build(codec.config | {"encoder": codec.encoder.spec | {"first": {"room": "speech"}}})
    with pytest.raises(SpeechVQError, match="a stacked codec is needed, not one of ConvEncoder"):
        first_of(first())
