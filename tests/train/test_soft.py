"""Soft labels and stochastic codes in training: against loops, at their limits, and in whole runs."""

import math

import pytest
import torch
from torch.nn import functional as F

from speechvq.codec import Batch, Codec, Codes
from speechvq.errors import BadSetting, UnknownName
from speechvq.image.data import open_corpus
from speechvq.prior import Prior
from speechvq.prior.residual import ResidualPrior
from speechvq.prior.residual_settings import Sizes
from speechvq.quantize.soft import soft_targets
from speechvq.train import train
from speechvq.train.soft import Soft, teach

SMALL = Sizes(places=1, depths=1, width=16, heads=2)
VQVAE = {"name": "vqvae", "size": "tiny"}
MEL = {"name": "mel", "dim": 6, "channels": 8, "dilations": [1]}
SPECTRAL = {"name": "spectral", "speakers": ["ann", "bob"], "size": "tiny", "voice_channels": 8}
ROOMS = {
    "image": {"rate": 1, "encoder": VQVAE | {"dim": 6}, "decoder": VQVAE},
    "speech": {"rate": 16000, "encoder": MEL, "decoder": SPECTRAL},
}
STACKS = {
    "shared": {"name": "residual", "shared": True, "num_codebooks": 3},
    "own": {"name": "residual", "num_codebooks": 3},
    "one": {"name": "vector"},
}


def codec_of(room: str, stack: str = "shared") -> Codec:
    torch.manual_seed(0)
    quantizer = STACKS[stack] | {"codebook_size": 9, "start": {"by": "normal"}}
    codec = Codec.build({"room": room, "quantizer": quantizer} | ROOMS[room]).eval()
    with torch.no_grad():  # latents about as large as codes, or all would be nearest to one
        last = [weight for weight in codec.encoder.parameters() if weight.dim() > 1][-1]
        last *= 6
    return codec


@pytest.fixture(params=[(room, stack) for room in ROOMS for stack in STACKS], ids="-".join)
def both(request):
    """A codec, a prior of its codes, and a batch of signals, of sound with a padded one."""
    room, stack = request.param
    codec = codec_of(room, stack)
    books = codec.quantizer.num_codebooks
    stacked = codec.quantizer.codebooks if books > 1 else [codec.quantizer.codebook]
    vectors = torch.stack([book.codes() for book in stacked])
    names = {"labels": ("near", "far")} if room == "image" else {"speakers": ("ann", "bob")}
    prior = ResidualPrior(
        9, num_codebooks=books, size=SMALL, channels=6, shared=len(vectors) == 1, **names
    ).eval()
    prior.take(vectors.detach())
    for weight in prior.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    condition = {name.rstrip("s"): torch.tensor([1, 0, 1]) for name in names}
    if room == "image":
        return codec, prior, Batch(torch.rand(3, 3, 12, 8) * 2 - 1, None, condition)
    mask = torch.arange(3200) < torch.tensor([3200, 1700, 2500])[:, None]
    return codec, prior, Batch(torch.randn(3, 1, 3200) * 0.3 * mask[:, None], mask, condition)


def latents(codec: Codec, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """The encoder's vectors, and which are valid."""
    with torch.no_grad():
        z = codec.encoder(batch.signal, batch.mask)
    valid = torch.ones(len(z), *z.shape[2:], dtype=torch.bool)
    return z, valid if batch.mask is None else codec.encoder.code_mask(batch.mask)


def by_loop(prior: ResidualPrior, z, valid, codes: Codes, condition, temperature: float):
    """The cross entropy, and the greatest chance and the entropy of each depth, code by code."""
    log_p = prior.logits(codes, condition).log_softmax(-1)
    spent, certain, entropy = [], [[] for _ in range(codes.indices.shape[1])], []
    for b, *where in valid.nonzero().tolist():
        left = z[(b, slice(None), *where)].double()
        for k in range(codes.indices.shape[1]):
            book = prior.vectors[k if len(prior.vectors) > 1 else 0].double()
            raised = [-float(((left - code) ** 2).sum()) / temperature for code in book]
            most = max(raised)
            chances = [math.exp(one - most) for one in raised]
            chances = [one / sum(chances) for one in chances]
            row = log_p[(b, k, *where)]
            spent.append(-sum(chance * row[q] for q, chance in enumerate(chances)))
            certain[k].append(max(chances))
            entropy.append((k, -sum(c * math.log(c) for c in chances if c)))
            left = left - book[codes.indices[(b, k, *where)]]
    means = [sum(e for d, e in entropy if d == k) / len(some) for k, some in enumerate(certain)]
    return sum(spent) / len(spent), [sum(some) / len(some) for some in certain], means


@pytest.mark.parametrize("drawn", [False, True])
def test_the_loss_and_its_figures_are_those_of_a_loop(both, drawn):
    codec, prior, batch = both
    before = {name: value.clone() for name, value in codec.state_dict().items()}
    torch.manual_seed(5)
    outcome = teach(prior, codec, batch, Soft(0.7, codes=drawn))
    z, valid = latents(codec, batch)
    torch.manual_seed(5)
    targets = soft_targets(codec.quantizer, z, temperature=0.7, sample=drawn, mask=valid)
    codes = Codes(targets.indices, valid)
    wanted, certain, entropy = by_loop(prior, z, valid, codes, batch.condition, 0.7)
    torch.testing.assert_close(outcome.loss, wanted.float(), atol=1e-5, rtol=1e-5)
    assert set(outcome.losses) == {"prior/soft"}
    for k, pair in enumerate(zip(certain, entropy, strict=True), 1):
        found = [float(outcome.stats[f"soft/{name}_{k}"]) for name in ("certainty", "entropy")]
        assert found == pytest.approx(pair, abs=1e-5)
    weights = list(prior.parameters())
    slopes = zip(
        torch.autograd.grad(outcome.loss, weights, allow_unused=True),
        torch.autograd.grad(wanted, weights, allow_unused=True),
        strict=True,
    )
    for found, right in slopes:
        assert (found is None) == (right is None)
        if found is not None:
            torch.testing.assert_close(found, right, atol=1e-5, rtol=1e-4)
    for name, value in codec.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_without_softness_it_is_the_hard_loss(both):
    """Chances of one and none give the loss of the codes; so does whatever is switched off."""
    codec, prior, batch = both
    hard = codec.encode(batch.signal, batch.mask)
    wanted = prior.loss(hard, batch.condition)
    for soft in (Soft(1e-7), Soft(1e-7, labels=False), Soft(1e-7, codes=False), Soft(3.0, False, False)):
        torch.testing.assert_close(teach(prior, codec, batch, soft).loss, wanted, atol=1e-6, rtol=1e-6)
    logits = prior.logits(hard, batch.condition)
    valid = hard.indices >= 0
    torch.testing.assert_close(wanted, F.cross_entropy(logits[valid], hard.indices[valid]))
    torch.manual_seed(3)
    drawn = teach(prior, codec, batch, Soft(3.0, labels=False))
    assert set(drawn.losses) == {"prior/nll"}
    z, mask = latents(codec, batch)
    torch.manual_seed(3)
    codes = soft_targets(codec.quantizer, z, temperature=3.0, sample=True, mask=mask).indices
    torch.testing.assert_close(drawn.loss, prior.loss(Codes(codes, mask), batch.condition))
    assert not torch.equal(codes, hard.indices)


def test_codes_are_drawn_anew_every_time(both):
    codec, prior, batch = both
    with torch.no_grad():
        drawn = {float(teach(prior, codec, batch, Soft(2.0)).loss) for _ in range(4)}
        nearest = {float(teach(prior, codec, batch, Soft(2.0, codes=False)).loss) for _ in range(4)}
    assert (len(drawn), len(nearest)) == (4, 1)


@pytest.fixture
def run(config, pictures, runs, tmp_path):
    """A run of a residual prior over codes of pictures, taught softly."""
    codec_of("image").save_pretrained(tmp_path / "codec")
    prior = {"name": "residual", "size": {"places": 1, "depths": 1, "width": 16, "heads": 2}}
    prior |= {"grid": "auto", "channels": "auto", "shared": "auto", "labels": "auto"}
    model = {"codec": str(tmp_path / "codec"), "prior": prior, "soft": {"temperature": 0.5}}
    data = {"root": str(pictures), "crop": "random", "shorter": 20, "flip": True}
    return runs.having(config, room="image", rate=1, data=data, model=model, optimiser__lr=1e-2)


def test_a_run_is_judged_on_hard_codes(run, pictures, runs, capfd):
    folder = train(runs.having(run, runtime__steps=30, runtime__ema=0, runtime__board_every=30))
    lines, held = runs.lines(folder, "train"), runs.lines(folder, "valid")
    assert lines[-1]["prior/soft"] < lines[0]["prior/soft"]
    assert all({f"soft/entropy_{k}", f"soft/certainty_{k}"} <= set(lines[0]) for k in (1, 2, 3))
    assert 0 < lines[0]["soft/entropy_1"] < math.log(9)
    assert "soft labels and drawn codes at temperature 0.5" in capfd.readouterr().err
    prior, codec = Prior.from_pretrained(folder / "prior"), Codec.from_pretrained(run["model"]["codec"])
    data = open_corpus(run["data"]).split("valid", hop=4)
    batch = data.collate([data[0, i] for i in range(len(data))])
    with torch.no_grad():
        wanted = prior.loss(codec.encode(batch.signal), batch.condition)
    assert set(held[-1]) >= {"prior/nll"}
    assert held[-1]["prior/nll"] == pytest.approx(float(wanted), abs=1e-5)
    assert prior.grid == (4, 4)
    assert prior.labels == ("near", "far")
    assert torch.equal(prior.vectors[0], codec.quantizer.codebooks[0].codes())


def test_in_mixed_precision_the_codec_listens_in_full(run, runs):
    mixed = {"runtime__precision": "bf16-mixed", "runtime__board_every": 4}  # what it draws included
    folder = train(runs.having(run, runtime__steps=4, **mixed))
    whole = train(runs.having(run, runtime__steps=4, folder=run["folder"] + "2"))
    for name in ("soft/entropy_1", "soft/entropy_3", "prior/soft"):
        one, two = (runs.lines(one, "train")[-1][name] for one in (folder, whole))
        assert one == pytest.approx(two, rel=0.03)
    assert runs.lines(folder, "valid")[-1]["prior/nll"] < 1.3 * math.log(9)


def test_resumed_it_is_the_same(run, runs):
    one = train(run)
    two = runs.having(run, folder=run["folder"] + "2", runtime__max_minutes=0.0005)
    train(two)
    assert runs.state(two["folder"])["step"] < 12
    train(runs.having(two, resume=True, runtime__max_minutes=None))
    runs.same(runs.state(one), runs.state(two["folder"]))


def test_what_cannot_be_soft_is_said(run, runs, tmp_path):
    def refused(words: str, **changes) -> None:
        with pytest.raises((BadSetting, UnknownName), match=words):
            train(runs.having(run, **changes))
        assert not (tmp_path / "run").exists()

    refused("above 0", model__soft__temperature=-1.0)
    refused("above 0", model__soft__temperature="warm")
    refused("true or false", model__soft__labels=3)
    refused("called 'heat'; known: temperature", model__soft={"heat": 1})
    refused("model.soft is 0.5", model__soft=0.5)
    refused("pixelcnn cannot be taught soft labels", model__prior={"name": "pixelcnn", "size": "tiny"})
    told = {"edges": run["model"]["codec"]}
    refused("is not told edges", model__told=told)
    refused(r"grid \(4, 4\) does not fit in the grid \(3, 4\)", model__prior__grid=[3, 4])
    gpt = {"name": "gpt", "size": "tiny"}
    soft = {"temperature": 0.5, "labels": False}
    refused("without the codes of edges", model={**run["model"], "prior": gpt, "told": told, "soft": soft})
    fsq = Codec.build({"room": "image", "quantizer": {"name": "fsq", "levels": [3, 3]}} | ROOMS["image"])
    fsq.save_pretrained(tmp_path / "fsq")
    refused("FSQ does not choose codes by their distance", model__codec=str(tmp_path / "fsq"))


def test_codes_can_be_drawn_for_every_prior(run, runs):
    soft = {"temperature": 0.5, "labels": False}
    for name in ("pixelcnn", "gpt"):
        folder = run["folder"] + name
        model = {**run["model"], "prior": {"name": name, "size": "tiny"}, "soft": soft}
        made = train(runs.having(run, folder=folder, model=model, runtime__steps=2))
        assert runs.lines(made, "train")[-1]["soft/certainty_1"] <= 1
