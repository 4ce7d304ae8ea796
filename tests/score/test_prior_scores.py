"""What held-out codes cost a prior, from recordings and from code files."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from speechvq import Codec
from speechvq.cli import main
from speechvq.codec import Codes
from speechvq.errors import BadCodes, BadSetting
from speechvq.nets.transformer import Depth
from speechvq.prior import PRIORS, GPTPrior, Prior, TransformerPrior
from speechvq.prior.residual_settings import Sizes
from speechvq.prior.tokens import Alphabet
from speechvq.score.ngrams import Ngrams, highest_order
from speechvq.score.prior import code_streams, counted_bits, score_prior
from speechvq.score.streams import Stream
from speechvq.serve.files import encode_file
from speechvq.speech.audio import write_audio
from speechvq.store.manifest import Entry, write_manifest

SMALL = Depth(layers=1, width=16, heads=2, reach=400)


def streams(count: int, depth: int, seed: int) -> list[Stream]:
    draw = np.random.default_rng(seed)
    made = []
    for i in range(count):
        codes = np.repeat(draw.integers(0, 6, (8 + i, depth)), 3, axis=0)
        who = ["ann", "bob", "eve"][i % 3]
        made.append(Stream(f"{who}/{i}", who, codes, frame_rate=50.0, seconds=len(codes) / 50))
    return made


def mean(prior: Prior, held: list[Stream]) -> float:
    """Bits per code, one recording at a time and in one loss each."""
    spent = codes = 0.0
    for stream in held:
        row = {"speaker": torch.tensor([prior.speakers.index(stream.speaker)])} if prior.speakers else None
        loss = prior.loss(Codes(torch.from_numpy(stream.codes.T[None].copy())), row).item()
        spent, codes = spent + loss * stream.codes.size, codes + stream.codes.size
    return spent / codes / math.log(2)


@pytest.mark.parametrize("name", ["transformer", "wavenet", "residual"])
@pytest.mark.parametrize("depth", [1, 2])
@torch.no_grad()
def test_scores_are_the_mean_over_codes(name: str, depth: int):
    sizes = {"transformer": SMALL, "wavenet": "tiny", "residual": Sizes(1, 1, width=16, heads=2)}
    prior = PRIORS[name](6, num_codebooks=depth, size=sizes[name], speakers=("ann", "bob")).eval()
    train, held = streams(20, depth, 1), streams(9, depth, 2)
    scores = score_prior(prior, train, held, batch=4)
    known = [s for s in held if s.speaker != "eve"]
    assert scores.recordings == 6
    assert scores.codes == sum(s.codes.size for s in known)
    assert scores.codes_per_second == 50 * depth
    assert scores.bits["prior"] == pytest.approx(mean(prior, known), abs=1e-5)
    for who, bits in scores.speakers.items():
        assert bits == pytest.approx(mean(prior, [s for s in known if s.speaker == who]), abs=1e-5)
    tokens = [[prior.alphabet.tokens(Codes(torch.from_numpy(s.codes.T[None].copy())))[0].numpy() for s in some
               if s.speaker != "eve"] for some in (train, held)]  # fmt: skip
    assert [scores.bits[n] for n in ("unigram", "bigram", "trigram")] == pytest.approx(
        Ngrams(prior.alphabet, tokens[0]).bits(tokens[1])
    )
    assert list(scores.bits) == ["uniform", "unigram", "bigram", "trigram", "prior"]
    assert scores.bits["uniform"] == pytest.approx(math.log2(6))
    # Every code comes three times, which the bigram knows and the unigram does not.
    assert scores.bits["bigram"] < scores.bits["unigram"]
    assert scores.plain()["bits_per_second"]["prior"] == pytest.approx(scores.bits["prior"] * 50 * depth)
    with pytest.raises(BadSetting, match="no recording to score"):
        score_prior(prior, train, [s for s in held if s.speaker == "eve"])


@pytest.fixture
def spoken(tiny_codec: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The folder of a prior for the tiny codec, and a manifest of six recordings."""
    codec = Codec.from_pretrained(tiny_codec)
    TransformerPrior(32, size=SMALL, speakers=("kal", "slt"), codec=codec.fingerprint).save_pretrained(
        tmp_path / "prior"
    )
    entries = []
    for i in range(6):
        path, seconds = tmp_path / f"{i}.wav", 0.4 + 0.1 * i
        write_audio(path, 0.2 * torch.randn(1, int(16000 * seconds)), 16000)
        split = "train" if i < 4 else "test"
        entries.append(Entry(str(path), 0.0, seconds, ["slt", "kal"][i % 2], f"u{i}", split))
    write_manifest(tmp_path / "all.jsonl", entries)
    return tmp_path / "prior", tmp_path / "all.jsonl"


def test_recordings_and_their_code_files_cost_the_same(spoken, tiny_codec: Path, tmp_path: Path, capsys):
    folder, manifest = spoken
    asked = ["score", "prior", str(folder), str(manifest), "--codec", str(tiny_codec)]
    assert main([*asked, "--out", str(tmp_path / "a.json")]) == 0
    assert "bits per code" in capsys.readouterr().out
    assert main([*asked, "--out", str(tmp_path / "a.json")]) == 2
    assert "already there" in capsys.readouterr().err
    from speechvq.store.manifest import read_manifest

    codec, stored = Codec.from_pretrained(tiny_codec), []
    for entry in read_manifest(manifest):
        path = Path(entry.path).with_suffix(".svq")
        encode_file(codec, entry.path, str(path))
        stored.append(replace(entry, path=str(path)))
    write_manifest(tmp_path / "codes.jsonl", stored)
    asked[3] = str(tmp_path / "codes.jsonl")
    assert main([*asked[:4], "--out", str(tmp_path / "b.json")]) == 0
    a, b = (json.loads((tmp_path / f"{n}.json").read_text()) for n in "ab")
    assert a == b
    assert a["codes_per_second"] == codec.frame_rate


def test_a_prior_of_another_codec_is_refused(spoken, tiny_codec: Path, tmp_path: Path, capsys):
    folder, manifest = spoken
    codec = Codec.from_pretrained(tiny_codec)
    other = TransformerPrior(32, size=SMALL, codec="0" * 16)
    other.save_pretrained(tmp_path / "other")
    asked = ["score", "prior", str(tmp_path / "other"), str(manifest), "--codec", str(tiny_codec)]
    assert main(asked) == 2
    assert "trained on the codes of another codec" in capsys.readouterr().err
    encode_file(codec, str(tmp_path / "0.wav"), str(tmp_path / "0.svq"))
    entry = Entry(str(tmp_path / "0.svq"), 0.0, 0.4, "slt", "u0", "test")
    with pytest.raises(BadCodes, match="made by another codec"):
        code_streams([entry], None, other)
    with pytest.raises(BadSetting, match="--codec"):
        code_streams([replace(entry, path=str(tmp_path / "0.wav"))], None, other)
    assert main([*asked[:4], "--split", "train"]) == 2


def test_pictures_are_not_scored_as_speech(spoken, tiny_codec: Path, tmp_path: Path, capsys):
    """In a sentence that says what to give instead."""
    _, manifest = spoken
    parts = {name: {"name": "vqvae", "size": "tiny"} for name in ("encoder", "decoder")}
    quantizer = {"name": "vector", "codebook_size": 8}
    codec = Codec.build({"room": "image", "rate": 1, "quantizer": quantizer} | parts)
    codec.save_pretrained(tmp_path / "pictures")
    GPTPrior(8, size=SMALL, codec=codec.fingerprint).save_pretrained(tmp_path / "gpt")
    for what, made_by, words in (
        (manifest, tmp_path / "pictures", "give the folder of the pictures in place of the manifest"),
        (tmp_path, tiny_codec, "is a folder, so of pictures, and this codec is of room speech"),
    ):
        asked = ["score", "prior", str(tmp_path / "gpt"), str(what), "--codec", str(made_by)]
        assert main(asked) == 2
        assert words in " ".join(capsys.readouterr().err.split())


def test_of_many_letters_the_orders_are_counted_that_can_be():
    assert highest_order(Alphabet(8192)) == 3
    many = Alphabet(16384, 4)
    assert highest_order(many) == 2
    rows = [many.tokens(Codes(torch.randint(16384, (1, 4, 6))))[0].numpy() for _ in range(4)]
    assert list(counted_bits(many, rows[:3], rows[3:])) == ["uniform", "unigram", "bigram"]
    with pytest.raises(BadSetting, match="cannot be counted"):
        Ngrams(many, rows, order=3)
    Ngrams(many, rows, order=2)
