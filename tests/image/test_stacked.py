"""The second VQ-VAE: its three codes are used, say what PixelCNN cannot know, and bring codes back."""

import math
from pathlib import Path

import pytest
import torch

from speechvq.codec import Batch, Codec, Codes
from speechvq.errors import SpeechVQError
from speechvq.image.bits import bits_per_dim
from speechvq.image.conv import ConvDecoder, ConvEncoder
from speechvq.image.stacked import CodesDecoder, CodesEncoder, Stacked
from speechvq.nets.pixelcnn import Stacks
from speechvq.nets.sampling import Sampling
from speechvq.quantize import QUANTIZERS, VectorQuantizer

CODES, SIDES, KINDS = 16, (5, 7), 12
TINY = Stacks(layers=3, first=5, kernel=3, width=16, skip=16, post=32, condition=16)


def second(stacks: Stacks = TINY) -> Codec:
    encoder = CodesEncoder(24, codebook_size=CODES, sides=SIDES, channels=16)
    quantizer = QUANTIZERS.build({"name": "grouped", "groups": 3, "codebook_size": 8}, dim=24)
    decoder = CodesDecoder(24, hop=7, codebook_size=CODES, sides=SIDES, stacks=stacks)
    return Codec(encoder, quantizer, decoder, room="image", rate=1)


def both() -> Stacked:
    encoder, decoder = (make(8, colours=1, size="tiny") for make in (ConvEncoder, ConvDecoder))
    return Stacked(Codec(encoder, VectorQuantizer(8, CODES), decoder, room="image", rate=1), second())


def test_the_papers_sizes():
    quantizer = QUANTIZERS.build({"name": "grouped", "groups": 3, "codebook_size": 512}, dim=192)
    codec = Codec(CodesEncoder(), quantizer, CodesDecoder(), room="image", rate=1).eval()
    codes = codec.encode(torch.randint(512, (2, 1, 21, 21)))
    assert codes.indices.shape == (2, 3, 1, 1)
    assert codes.indices[0].numel() * math.log2(quantizer.codebook_size) == 27


def test_pictures_go_through_both_codecs_and_back():
    model, picture = both().eval(), torch.randint(256, (2, 1, 20, 28)) / 127.5 - 1
    codes = model.encode(picture)
    assert codes.indices.shape == (2, 3, 1, 1)
    assert model.bits == 9
    made = model.decode(codes, sampling=Sampling(seed=3))
    assert made.shape == picture.shape
    assert torch.equal(made, model.decode(codes, sampling=Sampling(seed=3)))
    assert not torch.equal(made, model.decode(codes, sampling=Sampling(seed=4)))


def test_drawing_place_by_place_is_the_network_over_the_whole_grid():
    codec = second().eval()
    vectors = torch.randn(3, 24, 1, 1)
    drawn = codec.decoder.generate(vectors, sampling=Sampling(temperature=0))
    assert drawn.shape == (3, 1, *SIDES)
    features = codec.decoder.net(
        codec.decoder.enter(drawn[:, 0]).movedim(3, 1), codec.decoder._conditions(vectors)
    )
    assert torch.equal(codec.decoder.leave(features.movedim(1, 3)).argmax(3), drawn[:, 0])


def test_what_is_said_of_a_code_depends_on_those_before_it_only():
    decoder = second().decoder
    vectors, codes = torch.randn(1, 24, 1, 1), torch.randint(CODES, (1, 1, *SIDES))
    nats = decoder.nats_of(vectors, codes)
    changed = codes.clone()
    changed[0, 0, 2, 3] = (codes[0, 0, 2, 3] + 1) % CODES
    differs = (decoder.nats_of(vectors, changed) != nats).flatten().nonzero()[:, 0]
    assert differs[0] == 2 * 7 + 3
    assert not torch.equal(decoder.nats_of(-vectors, codes)[0, 0, 0, 0], nats[0, 0, 0, 0])


def test_the_latents_are_not_ignored():
    """Noisy pictures of twelve kinds: with another picture's latents the codes cost much more.

    Knowing a kind is worth log 12 nats to a PixelCNN that would else find it out along the way.
    """
    kinds = torch.randint(CODES, (KINDS, 1, *SIDES))

    def drawn(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        kind = torch.randint(KINDS, (count,))
        noise = torch.rand(count, 1, *SIDES) < 0.2
        return torch.where(noise, torch.randint(CODES, (count, 1, *SIDES)), kinds[kind]), kind

    codec = second()
    optimiser = torch.optim.Adam(codec.parameters(), 5e-3)
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
        own = codec.decoder.nats_of(vectors, codes).flatten(1).sum(1)
        other = torch.stack([(kind != k).nonzero()[0, 0] for k in kind])
        swapped = codec.decoder.nats_of(vectors[other], codes).flatten(1).sum(1)
        none = (
            codec.decoder.nats_of(vectors.mean(0, keepdim=True).expand_as(vectors), codes).flatten(1).sum(1)
        )
    assert len(found.indices.flatten(1).unique(dim=0)) >= KINDS / 2
    assert (swapped > own).float().mean() > 0.9
    assert swapped.mean() > own.mean() + 10
    assert none.mean() > own.mean() + math.log(KINDS)


def test_it_is_a_prior_of_the_first_codec():
    model, picture = both().eval(), torch.randint(256, (2, 1, 20, 28)) / 127.5 - 1
    codes = model.first.encode(picture)
    nats = model.code_nats(codes)
    assert nats.shape == (2, 1, *SIDES)
    vectors = model.second.quantizer.decode(model.encode(picture).indices)
    alone = model.second.decoder.nats_of(vectors, codes.indices).flatten(1).sum(1)
    assert torch.allclose(nats.flatten(1).sum(1), alone + 9 * math.log(2))
    bits = bits_per_dim(model.first, picture, code_nats=model.code_nats)
    uniform = bits_per_dim(model.first, picture)
    saved = (35 * math.log(CODES) - nats.flatten(1).sum(1)) / (20 * 28 * math.log(2))
    assert torch.allclose(bits, uniform - saved, atol=1e-6)


def test_only_the_second_codec_learns():
    model = both().train()
    before = {name: value.clone() for name, value in model.first.state_dict().items()}
    model(Batch(torch.rand(4, 1, 20, 28))).loss.backward()
    assert all(p.grad is None for p in model.first.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.first.state_dict().items())
    assert any(p.grad is not None for p in model.second.encoder.parameters())


def test_it_is_saved_as_any_codec(tmp_path: Path):
    codec = second().eval()
    codec.save_pretrained(tmp_path / "second")
    again = Codec.from_pretrained(tmp_path / "second")
    codes = torch.randint(CODES, (2, 1, *SIDES))
    assert torch.equal(again.encode(codes).indices, codec.encode(codes).indices)
    assert torch.equal(again.decode(again.encode(codes)), codec.decode(codec.encode(codes)))


def test_strange_codes_are_refused():
    codec = second().eval()
    with pytest.raises(SpeechVQError, match=r"codes \(B, 1, 5, 7\) are needed, not \(1, 1, 7, 5\)"):
        codec.encode(torch.zeros(1, 1, 7, 5, dtype=torch.int64))
    with pytest.raises(SpeechVQError, match="codes beyond 0 ... 15"):
        codec.encode(torch.full((1, 1, *SIDES), CODES))
    first = both().first
    first.quantizer = VectorQuantizer(8, 32)
    with pytest.raises(SpeechVQError, match="has 1 x 32 codes, and the second takes 1 x 16"):
        Stacked(first, second())
    with pytest.raises(SpeechVQError, match="it knows sampling"):
        codec.decode(Codes(torch.zeros(1, 3, 1, 1, dtype=torch.int64)), seed=1)
