"""Factorised codes of length one (ViT-VQGAN): choosing by direction, and where gradients arrive."""

import pytest
import torch
from torch import Tensor

from speechvq.errors import BadSetting
from speechvq.quantize import GroupedQuantizer, ResidualQuantizer, VectorQuantizer
from speechvq.quantize.codebook import Learning, Revival
from speechvq.quantize.space import Space
from speechvq.quantize.start import Start


def quantizer(dim: int = 6, *, inner: int | None = None, gradient: str = "vector") -> VectorQuantizer:
    return VectorQuantizer(
        dim,
        20,
        space=Space(inner, "cosine", gradient=gradient),
        learning=Learning(by="gradient"),
        start=Start("normal"),
        revival=Revival(0.0),
    )


def rows(z: Tensor) -> Tensor:
    return z.movedim(1, -1).flatten(0, -2)


def test_the_nearest_on_the_sphere_is_the_likest_in_direction():
    core, z = quantizer(), torch.randn(3, 6, 5, 4)
    x, e = rows(z).double(), core.codebook.vectors.detach().double()
    cosine = torch.stack([torch.cosine_similarity(x, code[None], dim=1) for code in e], 1)
    assert torch.equal(core.encode(z).flatten(), cosine.argmax(1))
    unit_x, unit_e = (t / t.norm(dim=1, keepdim=True) for t in (x, e))
    assert torch.allclose(torch.cdist(unit_x, unit_e) ** 2, 2 - 2 * cosine, atol=1e-7)


def test_what_comes_out_has_length_one_however_long_the_vectors_are():
    core, z = quantizer().eval(), torch.randn(2, 6, 7)
    said, longer = core(z), core(10 * z)
    assert torch.allclose(said.vectors.norm(dim=1), torch.ones(2, 7), atol=1e-6)
    assert torch.equal(said.indices, longer.indices)
    assert torch.equal(said.vectors, longer.vectors)
    assert torch.equal(core.decode(said.indices), said.vectors)


def test_the_stored_codes_have_any_length_and_decoding_brings_them_to_one():
    core = quantizer()
    with torch.no_grad():
        core.codebook.vectors.mul_(torch.rand(20, 1) * 10 + 0.1)
    indices = torch.randint(20, (2, 1, 7))
    assert torch.allclose(core.decode(indices).norm(dim=1), torch.ones(2, 7), atol=1e-6)


def test_the_gradient_arrives_unchanged_at_the_vector_as_it_was():
    core, z, w = quantizer(), (5 * torch.randn(2, 6, 7)).requires_grad_(), torch.randn(2, 6, 7)
    (ones,) = torch.autograd.grad(core(z).vectors.sum(), z)
    assert torch.equal(ones, torch.ones_like(z))
    said = core(z)
    (found,) = torch.autograd.grad((said.vectors * w).sum(), z, retain_graph=True)
    assert torch.equal(found, w)
    # That of the commitment passes the bringing to length one: it has no part along the vector.
    (pull,) = torch.autograd.grad(said.losses["commitment"], z)
    unit = torch.nn.functional.normalize(rows(z).double(), dim=1).requires_grad_()
    e = torch.nn.functional.normalize(core.codebook.vectors.detach().double())[said.indices.flatten()]
    (to_unit,) = torch.autograd.grad(0.25 * (unit - e).square().mean(), unit)
    along = (to_unit * unit).sum(1, keepdim=True)
    wanted = (to_unit - along * unit) / rows(z).double().norm(dim=1, keepdim=True)
    assert torch.allclose(rows(pull).double(), wanted.detach(), atol=1e-7)


def test_at_the_direction_it_passes_the_bringing_to_length_one():
    core, z, w = quantizer(gradient="direction"), torch.randn(2, 6, 7).requires_grad_(), torch.randn(2, 6, 7)
    (found,) = torch.autograd.grad((core(z).vectors * w).sum(), z)
    (wanted,) = torch.autograd.grad((torch.nn.functional.normalize(z, dim=1) * w).sum(), z)
    assert torch.allclose(found, wanted, atol=1e-6)


def test_factorised_codes_are_the_layers_by_hand():
    core, z, w = quantizer(inner=3), torch.randn(2, 6, 7).requires_grad_(), torch.randn(2, 6, 7)
    into, out = core.passage.project_in, core.passage.project_out
    assert into is not None
    assert out is not None
    said = core(z)
    (found,) = torch.autograd.grad((said.vectors * w).sum(), z)
    # One layer after the other, as if there were nothing between them.
    wanted = (rows(w) @ out.weight) @ into.weight
    assert torch.allclose(rows(found), wanted, atol=1e-6)
    e = torch.nn.functional.normalize(core.codebook.vectors)[said.indices.flatten()]
    assert torch.allclose(rows(said.vectors), out(e), atol=1e-6)
    mask = torch.rand(2, 7) < 0.5
    assert torch.equal(core(z, mask).vectors != 0, mask[:, None].expand(2, 6, 7))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Space(gradient="code"), "cannot arrive at the 'code'; choose one of direction, vector"),
        (lambda: Space(gradient="vector"), "without the metric 'cosine'"),
        (
            lambda: ResidualQuantizer(8, 4, 1, space=Space(None, "cosine", gradient="vector")),
            "only the quant",
        ),
        (
            lambda: GroupedQuantizer(8, 4, groups=2, space=Space(None, "cosine", gradient="vector")),
            "only the quant",
        ),
        (lambda: ResidualQuantizer(8, 4, 2, space=Space(None, "cosine")), "cannot quantize what other codes"),
        (
            lambda: VectorQuantizer(
                8,
                4,
                space=Space(None, "cosine", gradient="vector"),
                learning=Learning(by="gradient", estimator="rotation"),
            ),
            "goes straight through",
        ),
    ],
)
def test_what_excludes_each_other_is_a_sentence(make, sentence: str):
    with pytest.raises(BadSetting, match=sentence):
        make()
