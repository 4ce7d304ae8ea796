"""Objectives: the sum of what each part minimises, without a gradient in another part."""

import pytest
import torch

from speechvq.codec import Batch, Codec
from speechvq.errors import BadSetting, UnknownName
from speechvq.losses.adversarial import critic_loss, feature_matching, maker_loss
from speechvq.losses.contrastive import neighbour_contrast
from speechvq.train.critic import Adversary, CriticObjective, build_objective
from speechvq.train.schedule import Optimiser


def codec(learn: str = "waveform") -> Codec:
    return Codec.build(
        {
            "room": "speech",
            "rate": 16000,
            "encoder": {"name": "mel", "dim": 8, "channels": 8, "dilations": [1]},
            "quantizer": {"name": "vector", "codebook_size": 16},
            "decoder": {
                "name": "spectral", "size": "tiny", "speakers": ["a", "b"], "jitter": 0.0,
                "loss": {"learn": learn},
            },
        }
    )  # fmt: skip


@pytest.fixture
def batch() -> Batch:
    mask = torch.arange(6400) < torch.tensor([[6400], [4000]])
    signal = 0.1 * torch.randn(2, 1, 6400) * mask[:, None]
    return Batch(signal, mask, {"speaker": torch.tensor([0, 1])})


def test_the_codecs_own_losses_by_their_names(batch):
    objective = build_objective({"name": "codec"}, codec("frames"))
    outcome = objective(vars(batch), 0)
    assert set(outcome.losses) == {"vq/commitment", "frames/mel"}
    assert torch.allclose(outcome.loss, sum(outcome.losses.values()))
    assert not any(v.requires_grad for v in [*outcome.losses.values(), *outcome.stats.values()])
    assert outcome.codes is not None
    assert outcome.codes["counts"].shape == (1, 16)
    assert outcome.codes["counts"].sum() == 20 + 12
    assert "codes/perplexity" in outcome.stats


def test_each_part_has_the_gradient_of_its_own_term(batch):
    """The slow twin: two graphs, two backward passes, as in an alternating game."""
    objective = build_objective({"name": "critic", "width": 2}, codec())
    assert isinstance(objective, CriticObjective)
    objective.product.eval()  # so that both passes below quantize with the same codebook
    torch.manual_seed(1)  # of the noise that the synthesis draws
    outcome = objective(vars(batch), 0)
    outcome.loss.backward()
    critics = {n: p.grad.clone() for n, p in objective.critic.named_parameters() if p.grad is not None}
    codecs = {n: p.grad.clone() for n, p in objective.product.named_parameters() if p.grad is not None}

    objective.zero_grad()
    torch.manual_seed(1)
    output = objective.product(batch)
    made = output.reconstruction.signal
    real, heard = objective.critic(batch.signal, batch.mask), objective.critic(made.detach(), batch.mask)
    masks = [j.mask for j in real]
    told = critic_loss([j.scores for j in real], [j.scores for j in heard], masks)
    told.backward()
    for name, parameter in objective.critic.named_parameters():
        assert torch.allclose(parameter.grad, critics[name], atol=1e-6), name
    assert all(p.grad is None for p in objective.product.parameters())

    objective.zero_grad()
    heard = objective.critic(made, batch.mask)
    match = feature_matching([j.features for j in real], [j.features for j in heard], masks)
    own = output.loss + maker_loss([j.scores for j in heard], masks) + 2 * match
    own.backward()
    for name, parameter in objective.product.named_parameters():
        if parameter.grad is not None:
            assert torch.allclose(parameter.grad, codecs[name], atol=1e-5), name
    assert outcome.loss.item() == pytest.approx(own.item() + told.item(), rel=1e-5)


def test_the_critic_waits_for_its_step(batch):
    objective = build_objective({"name": "critic", "width": 2, "start_step": 3}, codec())
    assert "critic/critic" not in objective(vars(batch), 2).losses
    heard = objective(vars(batch), 3).losses
    assert {"critic/critic", "critic/maker", "critic/features"} <= set(heard)
    assert not any(name.startswith("critic") for name in objective.judge(objective.product, batch).losses)


def test_the_critic_may_hear_a_window(batch):
    objective = build_objective({"name": "critic", "width": 2, "window": 1600}, codec())
    assert isinstance(objective, CriticObjective)
    real, made, mask = objective._heard(batch, batch.signal[..., :6000])
    assert real.shape == made.shape == (2, 1, 1600)
    assert mask is not None
    assert mask.shape == (2, 1600)
    assert torch.equal(real, made)
    objective(vars(batch), 0).loss.backward()


def test_two_optimisers_that_share_nothing(batch):
    objective = build_objective({"name": "critic", "width": 2, "lr": 0.5}, codec())
    made = objective.optimisers(Optimiser(lr=0.25))
    owned = {n: {id(p) for g in o.param_groups for p in g["params"]} for n, o in made.items()}
    assert set(owned) == {"product", "critic"}
    assert not owned["product"] & owned["critic"]
    assert owned["product"] | owned["critic"] == {id(p) for p in objective.parameters()}
    assert made["critic"].param_groups[0]["base"] == 0.5
    assert made["product"].param_groups[0]["base"] == 0.25


@pytest.mark.parametrize("name", ["codec", "critic"])
def test_frozen_parts_stay_as_they_are(batch, name):
    objective = build_objective({"name": name, "freeze": ["encoder", "quantizer"]}, codec())
    objective.train()
    fingerprint = objective.product.fingerprint
    made = objective.optimisers(Optimiser(lr=0.1))
    for _ in range(2):
        objective(vars(batch), 0).loss.backward()
        for optimiser in made.values():
            optimiser.step()
    assert objective.product.fingerprint == fingerprint
    assert objective.product.decoder.training
    assert not objective.product.quantizer.training


def test_what_cannot_be(batch):
    with pytest.raises(BadSetting, match="makes no signal"):
        build_objective({"name": "critic", "width": 2}, codec("frames"))(vars(batch), 0)
    with pytest.raises(UnknownName, match="codec, critic"):
        build_objective({"name": "gan"}, codec())
    with pytest.raises(UnknownName, match="encoder, quantizer, decoder"):
        build_objective({"freeze": ["head"]}, codec())
    with pytest.raises(UnknownName, match="freeze"):
        build_objective({"name": "codec", "width": 3}, codec())
    with pytest.raises(UnknownName, match="width"):
        build_objective({"name": "critic", "wide": 3}, codec())
    with pytest.raises(BadSetting, match="start_step"):
        Adversary(start_step=-1)


def test_a_contrast_of_two_views_is_added_by_name(batch):
    objective = build_objective({"name": "codec", "contrast": {"weight": 0.5, "far": 0.1}}, codec("frames"))
    outcome = objective(vars(batch), 0)
    assert set(outcome.losses) == {"vq/commitment", "frames/mel", "units/contrast"}
    assert torch.allclose(outcome.loss, sum(outcome.losses.values()))
    product = objective.product.eval()
    with torch.no_grad():  # outside of training the only view is compared with itself
        latents = product.encoder(batch.signal, batch.mask)
        mask = product.encoder.code_mask(batch.mask)
        expected = 0.5 * neighbour_contrast(latents, latents, mask, near=1, far=5)
        found = objective.judge(product, batch).losses["units/contrast"]
    assert torch.allclose(found, expected)


def test_the_contrast_reaches_the_encoder_only(batch):
    plain, added = (
        build_objective({"name": "codec", "contrast": {"weight": weight}}, codec("frames"))
        for weight in (0.0, 1.0)
    )
    added.load_state_dict(plain.state_dict())
    for objective in (plain, added):
        objective.product.eval()
        objective(vars(batch), 0).loss.backward()
    differ = {
        name.split(".")[1]
        for (name, one), other in zip(plain.named_parameters(), added.parameters(), strict=True)
        if one.grad is not None and other.grad is not None and not torch.allclose(one.grad, other.grad)
    }
    assert differ == {"encoder"}


def test_a_contrast_that_cannot_be_is_refused():
    with pytest.raises(BadSetting, match="near"):
        build_objective({"contrast": {"near": 0.2}}, codec("frames"))
    with pytest.raises(UnknownName, match="temperature"):
        build_objective({"contrast": {"tau": 0.2}}, codec("frames"))


def picture_codec() -> Codec:
    widths = {
        "channels": 32,
        "multipliers": [1, 1],
        "blocks": 1,
        "attention": [],
        "resolution": 16,
        "latent": 32,
    }
    loss = {"perceptual": {"network": "none"}}
    return Codec.build(
        {
            "room": "image",
            "rate": 1,
            "encoder": {"name": "vqgan", "size": widths},
            "quantizer": {"name": "vector", "codebook_size": 16},
            "decoder": {"name": "vqgan", "size": widths, "loss": loss},
        }
    )


def test_a_critic_of_pictures_weighs_as_much_as_the_reconstruction():
    spec = {"name": "critic", "critic": "patch", "layers": 1, "width": 8, "features": 0, "adaptive": True}
    objective = build_objective(spec | {"weight": 0.5}, picture_codec())
    assert isinstance(objective, CriticObjective)
    objective.eval()  # the same codebook and the same batch statistics in both passes
    batch = Batch(torch.rand(2, 3, 16, 16) * 2 - 1)
    outcome = objective(vars(batch), 0)
    assert set(outcome.losses) == {"vq/commitment", "picture/l1", "critic/maker", "critic/critic"}

    output = objective.product(batch)
    last = objective.product.decoder.last_layer
    own = torch.autograd.grad(output.losses["picture/l1"], last, retain_graph=True)[0].norm()
    game = maker_loss([j.scores for j in objective.critic(output.reconstruction.signal)], [None])
    of_game = torch.autograd.grad(game, last)[0].norm()
    balance = own / (of_game + 1e-4)
    assert torch.allclose(outcome.stats["critic/balance"], balance, rtol=1e-4)
    assert torch.allclose(outcome.losses["critic/maker"], 0.5 * balance * game, rtol=1e-4)
    outcome.loss.backward()
    assert all(p.grad is not None for p in objective.critic.parameters())


def test_a_critic_of_other_pictures_is_refused_before_the_first_step():
    spec = {"name": "critic", "critic": "patch", "layers": 1, "start_step": 5000}
    with pytest.raises(BadSetting, match=r"give objective\.channels=3"):
        build_objective(spec | {"channels": 1}, picture_codec())
    assert isinstance(build_objective(spec, picture_codec()), CriticObjective)


def test_a_decoder_without_a_last_layer_cannot_be_weighed():
    with pytest.raises(BadSetting, match="adaptive=false"):
        build_objective({"name": "critic", "adaptive": True}, codec())
    with pytest.raises(UnknownName, match="patch"):
        Adversary(critic="nobody")
    with pytest.raises(BadSetting, match="window"):
        Adversary(critic="patch", window=100)
