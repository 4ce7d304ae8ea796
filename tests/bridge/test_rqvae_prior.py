"""Published RQ-Transformers: in, with the numbers of the published code, and out again bit for bit."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from speechvq.bridge.rqvae_prior import export_rqvae_prior, import_rqvae_prior, prior_places
from speechvq.codec import Codes
from speechvq.errors import BadCheckpoint, BadSetting
from speechvq.prior.residual import ResidualPrior
from speechvq.prior.residual_settings import SIZES, Told

from .rqvae_prior_published import Published

TINY = Published()
OTHERS = [
    TINY,
    replace(TINY, words=1),
    replace(TINY, words=9, length=4),
    replace(TINY, shared=False, codes=20),
    replace(TINY, head=0, block=(3, 2, 1)),
]
SUM, SQUARES, NATS = 17.7182975554, 97.7239218950, 2.8411435154
CODES = Codes((7 * torch.arange(24) % 16).view(2, 2, 2, 3).movedim(3, 1))
ASKED = {"label": torch.tensor([1, 4])}


def imported(made: Published, tensors: dict[str, Tensor] | None = None, **more: Any) -> ResidualPrior:
    told = {"vectors": made.vectors(), "path": "model.pt"} | more
    return import_rqvae_prior(made.tensors() if tensors is None else tensors, {"arch": made.arch()}, **told)


@torch.no_grad()
def logits(prior: ResidualPrior) -> Tensor:
    return prior.logits(CODES, ASKED).movedim(1, 3).double().flatten()


def test_it_says_what_the_published_code_says() -> None:
    prior = imported(TINY)
    assert (prior.labels, prior.grid, prior.training) == (tuple("01234"), (2, 2), False)
    said = logits(prior)
    assert said.sum().item() == pytest.approx(SUM, abs=1e-4)
    assert said.square().sum().item() == pytest.approx(SQUARES, abs=1e-4)
    first = [-0.1104272993, 0.1343624284, -0.0598082834, 0.0999183281]
    assert said[:4].tolist() == pytest.approx(first, abs=1e-4)
    with torch.no_grad():
        assert prior.loss(CODES, ASKED).item() == pytest.approx(NATS, abs=1e-4)


HARM = [
    ("body_transformer.blocks.0.attn.query.weight", "body_transformer.blocks.0.attn.key.weight"),
    ("head_transformer.blocks.0.attn.value.weight", "head_transformer.blocks.0.attn.proj.weight"),
    ("body_transformer.blocks.0.ln1.weight", "body_transformer.blocks.1.ln1.weight"),
    ("body_transformer.blocks.0.mlp.0.weight", "head_transformer.blocks.0.mlp.0.weight"),
    ("input_mlp.weight", "head_mlp.weight"),
    ("input_mlp.bias", "head_mlp.bias"),
    ("classifier.layer_norm.bias", "body_transformer.blocks.0.ln2.bias"),
]


@pytest.mark.parametrize(("one", "other"), HARM)
def test_two_tensors_in_one_anothers_place_are_noticed(one: str, other: str) -> None:
    tensors = TINY.tensors()
    harmed = imported(TINY, tensors | {one: tensors[other], other: tensors[one]})
    assert (logits(harmed) - logits(imported(TINY))).abs().max() > 1e-3


@pytest.mark.parametrize(("name", "axis"), [("pos_emb_hw", 1), ("pos_emb_d", 1), ("cond_emb.weight", 0)])
def test_and_so_are_rows_in_another_order(name: str, axis: int) -> None:
    tensors = TINY.tensors()
    harmed = imported(TINY, tensors | {name: tensors[name].roll(1, axis)})
    assert (logits(harmed) - logits(imported(TINY))).abs().max() > 1e-3


@pytest.mark.parametrize("made", OTHERS)
def test_there_and_back_bit_for_bit(made: Published) -> None:
    tensors = made.tensors()
    prior = imported(made, tensors)
    back, arch = export_rqvae_prior(prior)
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors.items())
    assert all(tensor.is_contiguous() for tensor in back.values())
    asked = made.arch()
    blocks = {name: asked.pop(name) for name in ("body", "head")}
    assert asked.items() <= arch.items()
    for name, stack in blocks.items():
        assert arch[name]["n_layer"] == stack["n_layer"]
        assert arch[name]["block"] == stack["block"] | {"resid_pdrop": 0.1}
    again = import_rqvae_prior(back, {"arch": arch}, vectors=made.vectors())
    assert again.spec == prior.spec
    assert all(
        torch.equal(a, b)
        for a, b in zip(again.state_dict().values(), prior.state_dict().values(), strict=True)
    )


def test_classifiers_of_their_own_lie_the_other_way_round() -> None:
    made = replace(TINY, shared=False)
    tensors, x = made.tensors(), torch.randn(32)
    for depth, (weight, bias) in enumerate(imported(made, tensors).classifiers()):
        theirs = x @ tensors["classifier.linear.weight"][depth] + tensors["classifier.linear.bias"][depth]
        torch.testing.assert_close(weight @ x + bias, theirs)


def test_codebooks_one_for_all_or_one_each() -> None:
    book = TINY.vectors()
    assert len(imported(TINY, vectors=book.expand(3, -1, -1)).vectors) == 1
    three = imported(TINY, vectors=torch.stack([book, 2 * book, 3 * book]))
    assert torch.equal(three.vectors[2], 3 * book)
    with pytest.raises(BadCheckpoint, match=r"the codebooks are \(1, 15, 8\).*give the codec of its RQ-VAE"):
        imported(TINY, vectors=book[:15])


@pytest.mark.parametrize("name", ["ffhq", "imagenet-1.4b", "imagenet-3.8b", "cc3m"])
def test_every_weight_of_the_published_sizes_has_one_place(name: str) -> None:
    size, text = SIZES[name], name == "cc3m"
    words = 16384 if text else 1000 if name.startswith("imagenet") else 1
    made = Published(
        size.width, size.heads, size.places, size.depths, (8, 8, 4), 16384, 256, words, 32 if text else 1
    )
    labels = tuple(map(str, range(words))) if words == 1000 else ()
    with torch.device("meta"):
        told = Told(words, 32) if text else Told()
        prior = ResidualPrior(
            16384, num_codebooks=4, grid=(8, 8), size=size, channels=256, labels=labels, told=told
        )
    places = prior_places(prior)
    assert {name: place.shape for name, place in places.items()} == made.shapes()
    assert len({(place.own, place.third) for place in places.values()}) == len(places)
    assert {place.own for place in places.values()} == set(prior.state_dict()) - {"vectors"}


def without(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {other: tensor for other, tensor in tensors.items() if other != name}


def strict() -> list[tuple[dict[str, Tensor], str]]:
    tensors, one = TINY.tensors(), torch.ones(1)
    return [
        (without(tensors, "pos_emb_d"), "model.pt has no 'pos_emb_d': this is no RQ-Transformer"),
        (without(tensors, "input_mlp.weight"), "has no 'input_mlp.weight': it is no RQ-Transformer"),
        (tensors | {"tok_emb.weight": one}, "has 'tok_emb.weight', which should not be there"),
        (tensors | {"head_transformer.blocks.1.ln1.bias": one}, r"says head.n_layer 1, .* has tensors for 2"),
        (tensors | {"pos_emb": one}, "has 'pos_emb', which should not be there"),
        (tensors | {"pos_emb_hw": torch.ones(1, 5, 32)}, r"'pos_emb_hw' has the shape \(1, 5, 32\)"),
        (tensors | {"classifier.linear.bias": torch.ones(15)}, r"has the shape \(15,\) where \(16,\)"),
        (tensors | {"input_mlp.weight": torch.ones(32)}, "should have 2 axes"),
    ]  # fmt: skip


@pytest.mark.parametrize("which", range(8))
def test_what_is_no_transformer_is_refused(which: int) -> None:
    tensors, sentence = strict()[which]
    with pytest.raises(BadCheckpoint, match=sentence):
        imported(TINY, tensors)


CONFIGS = [
    ({"type": "rq-vae"}, "no arch of the type 'rq-transformer'"),
    ({"block_size": [2, 2]}, r"block_size is \[2, 2\], not rows, columns and depth"),
    ({"cumsum_depth_ctx": False}, "does not say cumsum_depth_ctx: true"),
    ({"body": {"n_layer": 2}}, "does not say body.block.n_head"),
    ({"head": {"n_layer": 1, "block": {"n_head": 2}}}, "blocks of different kinds"),
    ({"body": {"n_layer": 2, "block": {"n_head": 4, "gelu": "v2"}}}, "body.block.gelu is 'v2'"),
    ({"vocab_size_cond": "five"}, "are no numbers"),
    ({"embed_dim": 64}, "says embed_dim 64, but .* has tensors for 32"),
    ({"body": {"n_layer": 3, "block": {"n_head": 4}}}, "says body.n_layer 3, but .* has tensors for 2"),
    ({"vocab_size_cond": 6}, r"'cond_emb.weight' has the shape \(5, 32\)"),
]


@pytest.mark.parametrize(("changed", "sentence"), CONFIGS)
def test_a_yaml_of_another_is_refused(changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadCheckpoint, match=sentence):
        import_rqvae_prior(TINY.tensors(), {"arch": TINY.arch(**changed)}, vectors=TINY.vectors())


def test_names_of_classes_are_those_given() -> None:
    assert imported(TINY, labels=tuple("abcde")).labels == tuple("abcde")
    with pytest.raises(BadSetting, match="2 labels are given, but model.pt knows 5"):
        imported(TINY, labels=("a", "b"))


def test_a_prior_of_other_parts_is_not_exported() -> None:
    hidden = {"labels": ("a", "b"), "told": Told(blind=0.1)}
    for other in ({"grid": ()}, {"channels": 0}, {"speakers": ("a",)}, {"labels": ("a",)}, hidden):
        own: dict[str, Any] = {"num_codebooks": 3, "grid": (2, 2), "channels": 8} | other
        with pytest.raises(BadSetting, match="other parts than the RQ-Transformer of kakaobrain"):
            export_rqvae_prior(ResidualPrior(16, **own))


def test_where_there_are_no_classes_none_are_hidden() -> None:
    own: dict[str, Any] = {"num_codebooks": 3, "grid": (2, 2), "channels": 8, "told": Told(blind=0.1)}
    prior = ResidualPrior(16, **own)
    tensors, _ = export_rqvae_prior(prior)
    assert torch.equal(tensors["cond_emb.weight"], prior.state_dict()["begin.weight"])
