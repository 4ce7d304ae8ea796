"""A style critic in the objective: whose gradient R1 is, at which steps, and which pictures it fits."""

import pytest
import torch

from speechvq.codec import Batch, Codec
from speechvq.errors import BadSetting
from speechvq.losses.adversarial import critic_loss, maker_loss
from speechvq.losses.gradient_penalty import steepness
from speechvq.nets.style_critic import StyleCritic
from speechvq.train import train
from speechvq.train.critic import Adversary, CriticObjective, Style, build_objective

SPEC = {"name": "critic", "critic": "style", "width": 4, "features": 0, "kind": "logistic", "weight": 0.1}


def codec(encoder: str = "vit") -> Codec:
    both = {"name": "vit", "size": {"blocks": 1, "heads": 2, "width": 8, "hidden": 16}, "side": 16}
    if encoder == "vqvae":
        both = {"name": "vqvae", "size": "tiny"}
    vit = {"loss": {"error": "squared", "features": 0.0}, "laplace": {"weight": 0.0}}
    return Codec.build(
        {
            "room": "image",
            "rate": 1,
            "encoder": both | ({"patch": 4} if encoder == "vit" else {"dim": 8}),
            "quantizer": {"name": "vector", "codebook_size": 16, "start": {"by": "normal"}},
            "decoder": both | (vit if encoder == "vit" else {}),
        }
    )


def objective(**style: float) -> CriticObjective:
    made = build_objective(SPEC | {"style": style}, codec())
    assert isinstance(made, CriticObjective)
    return made.eval()  # the same codebook in all passes


def test_r1_is_taken_every_few_steps_and_then_as_heavy():
    one, batch = objective(gamma=2.0, every=3), Batch(torch.rand(4, 3, 16, 16) * 2 - 1)
    said = [one(vars(batch), step) for step in range(5)]
    assert ["critic/r1" in outcome.losses for outcome in said] == [True, False, False, True, False]
    real = batch.signal.clone().requires_grad_()
    wanted = steepness([one.critic(real)[0].scores], real).item()
    assert said[0].stats["critic/slope"].item() == pytest.approx(wanted, rel=1e-4)
    assert said[0].losses["critic/r1"].item() == pytest.approx(2 / 2 * 3 * wanted, rel=1e-4)
    assert said[0].loss.item() == pytest.approx(said[1].loss.item() + 3 * wanted, rel=1e-4)
    assert not batch.signal.requires_grad
    assert "critic/r1" not in objective(gamma=0)(vars(batch), 0).losses


def test_each_part_has_the_gradient_of_its_own_term():
    """The slow twin: R1 and the critic's loss in one graph, the codec's in another."""
    one, batch = objective(gamma=5.0, every=16), Batch(torch.rand(4, 3, 16, 16) * 2 - 1)
    one(vars(batch), 32).loss.backward()
    found = {name: p.grad.clone() for name, p in one.named_parameters() if p.grad is not None}
    one.zero_grad()

    output, real = one.product(batch), batch.signal.clone().requires_grad_()
    made = output.reconstruction.signal
    about_real, about_made = one.critic(real)[0].scores, one.critic(made.detach())[0].scores
    told = critic_loss([about_real], [about_made], [None], kind="logistic")
    (told + 5 / 2 * 16 * steepness([about_real], real)).backward()
    for name, parameter in one.critic.named_parameters():
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, found["critic." + name], rtol=1e-3, atol=1e-5), name
    one.zero_grad()

    game = maker_loss([j.scores for j in one.critic(made)], [None], kind="logistic")
    (output.loss + 0.1 * game).backward()
    for name, parameter in one.product.named_parameters():
        if parameter.grad is not None:
            assert torch.allclose(parameter.grad, found["own.codec." + name], rtol=1e-3, atol=1e-6), name


def test_the_side_is_the_codecs_or_must_be_said():
    critic = objective().critic
    assert isinstance(critic, StyleCritic)
    assert critic.side == 16
    with pytest.raises(BadSetting, match=r"give objective\.style\.side=PIXELS"):
        build_objective(SPEC, codec("vqvae"))
    said = build_objective(SPEC | {"style": {"side": 32}}, codec("vqvae"))
    assert isinstance(said, CriticObjective)
    assert isinstance(said.critic, StyleCritic)
    assert said.critic.side == 32
    with pytest.raises(BadSetting, match="16 x 12 pixels do not fit this style critic"):
        objective()(vars(Batch(torch.zeros(2, 3, 16, 12))), 0)


def test_bad_settings_are_sentences():
    for values in ({"gamma": -1.0}, {"every": 0}):
        with pytest.raises(BadSetting, match="gamma must be at least 0, every at least 1"):
            Style(**values)
    with pytest.raises(BadSetting, match="window"):
        Adversary(critic="style", window=100)


def test_pictures_of_another_size_are_refused_before_anything_is_written(config, pictures, runs, tmp_path):
    both = {"name": "vit", "size": {"blocks": 1, "heads": 2, "width": 8, "hidden": 16}, "side": 8}
    model = {"encoder": both | {"patch": 4}, "decoder": both | {"hop": 4, "loss": {"features": 0.0}}}
    of_pictures = runs.having(config, room="image", rate=1, data={"root": str(pictures)}, model=model)
    with pytest.raises(BadSetting, match=r"16 x 16 pixels are larger than the 8 a side .* data\.size=8"):
        train(of_pictures)
    vqvae = {"name": "vqvae", "size": "tiny"}
    model = {"encoder": vqvae | {"dim": 8}, "decoder": vqvae}
    with pytest.raises(BadSetting, match="16 x 16 pixels do not fit the style critic"):
        train(runs.having(of_pictures, model=model, objective=SPEC | {"style": {"side": 32}}))
    assert not (tmp_path / "run").exists()


def test_resumed_between_two_penalties_it_is_the_same(config, pictures, runs):
    both = {"name": "vit", "size": {"blocks": 1, "heads": 2, "width": 8, "hidden": 16}, "side": 16}
    model = {"encoder": both | {"patch": 4}, "decoder": both | {"hop": 4, "loss": {"features": 0.0}}}
    spec = SPEC | {"style": {"every": 5, "gamma": 1.0}}
    one = runs.having(config, room="image", rate=1, data={"root": str(pictures)}, model=model, objective=spec)
    folder, two = train(one), runs.having(one, folder=one["folder"] + "2", runtime__max_minutes=0.0005)
    train(two)
    assert runs.state(two["folder"])["step"] < 12
    train(runs.having(two, resume=True, runtime__max_minutes=None))
    runs.same(runs.state(folder), runs.state(two["folder"]))
    assert any("critic/r1" in line for line in runs.lines(folder, "train"))
