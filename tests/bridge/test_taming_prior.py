"""Published transformers with their VQGANs: in, with the numbers of the published code, and out again."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from speechvq.bridge import load
from speechvq.bridge.places import under
from speechvq.bridge.taming import Net2Net, import_taming
from speechvq.bridge.taming_config import ORDERS
from speechvq.bridge.taming_export import export_taming
from speechvq.bridge.taming_names import GPT, prior_places
from speechvq.codec import Codec, Codes
from speechvq.errors import BadCheckpoint, BadSetting
from speechvq.nets.sampling import Sampling
from speechvq.nets.transformer import Depth
from speechvq.prior.gpt import GPTPrior
from speechvq.prior.gpt_settings import Reading
from speechvq.prior.orders import order

from .taming_published import (
    TINY,
    filled,
    gpt,
    masks,
    net2net,
    transformer,
    vqgan,
    without,
    write,
    write_yaml,
)
from .test_taming import there_and_back

CLASS = {"target": "taming.modules.util.Labelator", "params": {"n_classes": 10}}
COORDINATES = {"target": "taming.modules.misc.coord.CoordStage", "params": {"n_embed": 60, "down_factor": 2}}
BOXES = {"target": "taming.models.dummy_cond_stage.DummyCondStage", "params": {"conditional_key": "boxes"}}


def model_of(path: Path, **more: Any) -> Net2Net:
    model = load(path, kind="taming", **more)
    assert isinstance(model, Net2Net)
    return model


def yaml(folder: Path, told: Any, **params: Any) -> Path:
    return write_yaml(folder / "model.yaml", transformer(told, **params))


def test_the_likeliest_codes_are_the_published_ones(tmp_path: Path) -> None:
    path = write(tmp_path / "last.ckpt", net2net())
    model = model_of(path, config=yaml(tmp_path, TINY.yaml(), cond_stage_key="depth", pkeep=0.9))
    (given,) = model.prior.given
    assert model.condition is not None
    assert (given.name, given.kind, given.codec) == ("depth", "map", model.condition.fingerprint)
    assert (model.prior.reading.window, model.prior.reading.keep) == ((16, 16), 0.9)
    assert model.prior.codec == model.codec.fingerprint != model.condition.fingerprint
    told = ((5 * torch.arange(256) + 3) % 64).view(1, 1, 16, 16)
    assert model.prior.generate((16, 16), {"depth": told}, Sampling(temperature=0)).indices.sum() == 6994
    there_and_back(model, path, tmp_path)


def test_without_a_yaml_the_heads_are_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "last.ckpt", dict(reversed(net2net(reach=48).items())))
    with pytest.raises(BadSetting, match=r"how many heads .* of width 32; give its yaml .*--heads"):
        import_taming(path)
    with pytest.raises(BadSetting, match="32 channels do not divide into 5 heads"):
        import_taming(path, heads=5)
    model = model_of(path, heads=4)
    config = yaml(tmp_path, TINY.yaml(), reach=48)
    assert model.prior.net.depth == model_of(path, config=config).prior.net.depth
    assert (model.prior.given[0].name, model.prior.reading.window) == ("condition", (4, 4))
    with pytest.raises(BadSetting, match="says 4 heads, not 8"):
        import_taming(path, config=config, heads=8)
    with pytest.raises(BadSetting, match="is a VQGAN, which has no heads"):
        import_taming(write(path, filled(vqgan(TINY))), heads=4)


TOLD = [
    (CLASS, "class_label", [("label", 10, "label", 16)], (5, 5)),
    (COORDINATES, "coord", [("coordinates", 60, "coordinates", 2)], (4, 4)),
    (BOXES, "objects_bbox", [("objects_bbox", 64, "tokens", 16)], (5, 5)),
    ("__is_unconditional__", "image", [], (5, 5)),
    ({"target": "taming.modules.util.SOSProvider", "params": {"sos_token": 0}}, "image", [], (5, 5)),
]


@pytest.mark.parametrize(("told", "key", "given", "window"), TOLD)
def test_what_it_can_be_told(tmp_path: Path, told: Any, key: str, given: Any, window: Any) -> None:
    path = write(tmp_path / "last.ckpt", net2net(False, reach=31))
    model = model_of(path, config=yaml(tmp_path, told, reach=31, cond_stage_key=key))
    assert [(one.name, one.size, one.kind, one.hop) for one in model.prior.given] == given
    assert (model.prior.reading.window, model.condition) == (window, None)
    there_and_back(model, path, tmp_path)
    with pytest.raises(BadCheckpoint, match="a class, coordinates or nothing; give the yaml"):
        import_taming(path, heads=4)
    with pytest.raises(BadCheckpoint, match=r"'cond_stage_model\..*' should not be there"):
        import_taming(write(path, net2net(reach=31)), config=tmp_path / "model.yaml")


def test_the_codec_of_the_pictures_may_tell_it_too(tmp_path: Path) -> None:
    tensors = net2net(False, reach=31)
    twice = {"cond" + n.removeprefix("first"): t for n, t in tensors.items() if n.startswith("first")}
    path = write(tmp_path / "last.ckpt", tensors | twice)
    config = yaml(tmp_path, "__is_first_stage__", reach=31, cond_stage_key="low")
    for model in (model_of(path, heads=4), model_of(path, config=config)):
        assert model.condition is None
        assert model.prior.given[0].codec == model.codec.fingerprint
    there_and_back(model, path, tmp_path)
    other = twice | {"cond_stage_model.quant_conv.bias": torch.ones(8)}
    with pytest.raises(BadCheckpoint, match="is another codec than that of the pictures"):
        import_taming(write(path, tensors | other), config=config)
    assert model_of(path, heads=4).condition is not None


@pytest.mark.parametrize("unmasked", [0, 16])
def test_masks_are_checked_and_made_again(tmp_path: Path, unmasked: int) -> None:
    tensors = net2net(reach=48) | masks(48, 2, unmasked)
    path = write(tmp_path / "last.ckpt", tensors)
    model = model_of(path, heads=4)
    assert model.prior.reading.unmasked == unmasked
    if unmasked:
        there_and_back(model, path, tmp_path)
    bare = write(path, {name: t for name, t in tensors.items() if not name.endswith(".mask")})
    config = yaml(tmp_path, TINY.yaml(), reach=48, gpt={"n_unmasked": unmasked})
    assert model_of(bare, config=config).prior.reading.unmasked == unmasked
    name = "transformer.blocks.1.attn.mask"
    other, hole = masks(48, 2, 7)[name], tensors[name].clone()
    hole[0, 0, 30, 3] = 0
    for mask, sentence in ((other, "the first 7 places see one another"), (hole, "is no mask"),
                           (hole[0], "is no mask"), (None, f"has no '{name}'")):  # fmt: skip
        changed = without(tensors, name) if mask is None else tensors | {name: mask}
        with pytest.raises(BadCheckpoint, match=sentence):
            import_taming(write(path, changed), heads=4)


def test_a_mask_that_shows_codes_to_come_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "last.ckpt", net2net(reach=48) | masks(48, 2, 17))
    with pytest.raises(BadCheckpoint, match="17 places see one another, of which only 16 are told"):
        import_taming(path, heads=4)


@pytest.mark.parametrize("target", [name for name in ORDERS if not name.endswith("Identity")])
def test_orders_of_places(tmp_path: Path, target: str) -> None:
    places = order(ORDERS[target], (4, 4))
    buffers = {"permuter.forward_shuffle_idx": places, "permuter.backward_shuffle_idx": places.argsort()}
    path = write(tmp_path / "last.ckpt", net2net(reach=32) | buffers)
    permuter = {"target": target, "params": {"H": 4, "W": 4}}
    config = yaml(tmp_path, TINY.yaml(), reach=32, permuter_config=permuter)
    model = model_of(path, config=config)
    assert model.prior.reading.order == ORDERS[target]
    if target.endswith("ZCurve"):
        assert model_of(path, heads=4).prior.reading.order == "z-curve"
        there_and_back(model, path, tmp_path)
    strange = {name: places.flip(0) for name in buffers}
    for tensors in (net2net(reach=32) | strange, net2net(reach=32)):
        with pytest.raises(BadCheckpoint, match="in another order than"):
            import_taming(write(path, tensors), config=config)


def test_the_order_of_the_published_examples() -> None:
    # Written out by hand on 4 x 4; the names are those of the classes.
    z_curve = [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]
    outwards = [9, 5, 6, 10, 14, 13, 12, 8, 4, 0, 1, 2, 3, 7, 11, 15]
    for name, places in {"ZCurve": z_curve, "SpiralOut": outwards}.items():
        assert order(ORDERS[f"taming.modules.transformer.permuter.{name}"], (4, 4)).tolist() == places


@pytest.mark.parametrize("swap", [("query", "key"), ("key", "value"), ("query", "proj")])
def test_two_tensors_in_one_anothers_place_are_noticed(tmp_path: Path, swap: tuple[str, str]) -> None:
    tensors = net2net(reach=31)
    codes, given = Codes(torch.randint(64, (1, 1, 4, 4))), {"condition": torch.randint(64, (1, 1, 4, 4))}
    found = []
    a, b = (f"transformer.blocks.1.attn.{name}.weight" for name in swap)
    for state in (tensors, tensors | {a: tensors[b], b: tensors[a]}):
        model = model_of(write(tmp_path / "last.ckpt", state), heads=4)
        with torch.no_grad():
            found.append(model.prior.loss(codes, given).item())
    assert abs(found[0] - found[1]) > 1e-3


def test_every_weight_of_the_published_sizes_has_one_place() -> None:
    shapes = gpt(1024, 512, 24, 1024)
    with torch.device("meta"):
        depth = Depth(24, 1024, 16, 512, "learned")
        prior = GPTPrior(1024, size=depth, reading=Reading(vocabulary=1024))
    places = prior_places(prior)
    assert {name: place.shape for name, place in places.items()} == shapes
    assert len({(place.own, place.third) for place in places.values()}) == len(places) == 24 * 16 + 5
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == 304_932_864
    assert {place.own for place in places.values()} == set(prior.state_dict())
    assert all(name.startswith(GPT) for name in under(GPT, places))


def strict(tensors: dict[str, Tensor]) -> list[tuple[dict[str, Tensor], str]]:
    one = torch.ones(1)
    return [
        (without(tensors, "transformer.head.weight"), r"has no 'transformer.head.weight': this is no tran"),
        (without(tensors, "transformer.pos_emb"), r"has no 'transformer.pos_emb': it is no transformer"),
        (tensors | {"transformer.blocks.0.attn.bias": one}, "'transformer.blocks.0.attn.bias', which should"),
        (tensors | {"transformer.blocks.7.ln1.weight": one}, "has no 'transformer.blocks.2.attn.mask'"),
        (tensors | {"permuter.x": one}, "has 'permuter.x', which should not be there"),
        (tensors | {"logit_scale": one}, "has 'logit_scale', which should not be there"),
        (tensors | {"first_stage_model.x": one}, "has 'first_stage_model.x', which should not be there"),
        (tensors | {"cond_stage_model.x": one}, "has 'cond_stage_model.x', which should not be there"),
        (without(tensors, "first_stage_model.quant_conv.bias"), "has no 'first_stage_model.quant_conv.bias'"),
        ({n: t for n, t in tensors.items() if not n.startswith("first")}, "has no 'first_stage_model.enc"),
        (
            tensors | {"transformer.ln_f.bias": torch.ones(31)},
            r"'transformer.ln_f.bias' has the shape \(31,\)",
        ),
        (tensors | {"transformer.tok_emb.weight": torch.ones(63, 32)}, "has no room for integers up to 63"),
    ]


@pytest.mark.parametrize("which", range(12))
def test_what_is_no_transformer_is_refused(tmp_path: Path, which: int) -> None:
    tensors, sentence = strict(net2net(reach=31))[which]
    with pytest.raises(BadCheckpoint, match=sentence):
        import_taming(write(tmp_path / "last.ckpt", tensors), heads=4)


def test_losses_and_colours_within_are_left_out(tmp_path: Path) -> None:
    spare = {"first_stage_model.loss.x": torch.ones(1), "cond_stage_model.colorize": torch.ones(3, 3, 1, 1)}
    model = model_of(write(tmp_path / "last.ckpt", net2net(reach=31) | spare), heads=4)
    assert model.condition is not None


def test_a_prior_of_other_parts_is_not_exported(tmp_path: Path) -> None:
    model = model_of(write(tmp_path / "last.ckpt", net2net(reach=31)), heads=4)
    own = GPTPrior(64, size=model.prior.net.depth)
    with pytest.raises(BadSetting, match="needs one codebook, one table"):
        export_taming(Net2Net(own, model.codec), tmp_path / "out.ckpt")
    assert isinstance(model.codec, Codec)
    assert not (tmp_path / "out.ckpt").exists()
