"""Pictures by ``speechvq generate``: as made by hand, told of classes and maps; refusals in sentences."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from speechvq.cli import main
from speechvq.codec import Codec, Codes
from speechvq.image.sheet import sheet
from speechvq.nets.pixelcnn import Stacks
from speechvq.nets.sampling import Sampling
from speechvq.nets.transformer import Depth
from speechvq.prior import PRIORS, Prior, Steering
from speechvq.prior.gpt_settings import Reading

CODES = {"codec": 3, "depth": 1, "classes": 5}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Codecs of pictures, depth and five classes, 4 x 4 pixels a code; priors of them; picture files."""
    folder = tmp_path_factory.mktemp("desk")
    torch.manual_seed(0)
    marks = {}
    for name, colours in CODES.items():
        part = {"name": "vqvae", "size": "tiny", "colours": colours}
        quantizer = {"name": "vector", "codebook_size": 16, "start": {"by": "normal"}}
        config = {"room": "image", "rate": 1, "encoder": part | {"dim": 8}, "decoder": part}
        codec = Codec.build(config | {"quantizer": quantizer})
        codec.save_pretrained(folder / name)
        marks[name] = codec.fingerprint
    stacks = Stacks(layers=2, width=8, skip=8, post=8, condition=4)
    depth = Depth(layers=1, width=16, heads=2, reach=64, positions="learned")
    reading = Reading(window=(4, 4), blind=0.1)
    labels = {"labels": ("bag", "shoe"), "label_dropout": 0.1}
    told = [{"name": "depth", "size": 16, "codec": marks["depth"]}, {"name": "segmentation", "size": 16}]
    told += [{"name": "label", "kind": "label", "size": 2, "names": ("bag", "shoe")}]
    more = [{"name": "points", "kind": "tokens", "size": 9}, {"name": "mood", "kind": "label", "size": 3}]
    made = {
        "pixelcnn": PRIORS["pixelcnn"](16, size=stacks, codec=marks["codec"], **labels),
        "free": PRIORS["pixelcnn"](16, size=stacks, codec=marks["codec"]),
        "gpt": PRIORS["gpt"](16, size=depth, given=told, reading=reading, codec=marks["codec"]),
        "more": PRIORS["gpt"](16, size=depth, given=more, reading=reading),
        "spoken": PRIORS["transformer"](16, size=depth, speakers=("a",)),
    }
    for name, prior in made.items():
        for weight in prior.parameters():
            torch.nn.init.normal_(weight, std=0.5)
        prior.save_pretrained(folder / name)
    draw = np.random.default_rng(0)
    for name, shape, most in (("photo", (20, 30, 3), 256), ("near", (16, 16), 256), ("things", (16, 16), 5)):
        Image.fromarray(draw.integers(0, most, shape).astype(np.uint8)).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def ask(desk: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs the command in the desk's folder."""
    monkeypatch.chdir(desk)

    def asked(prior: str, out: Path, *flags: str, codec: str = "codec") -> int:
        return main(["generate", prior, "--codec", codec, "--out", str(out), *flags])

    return asked


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def levels(made: torch.Tensor) -> np.ndarray:
    """The slow twin of a picture file: (1, 3, H, W) in [-1, 1] as (H, W, 3)."""
    return ((made[0].clamp(-1, 1) + 1) / 2 * 255).round().byte().movedim(0, 2).numpy()


def test_pictures_of_a_class_are_those_made_by_hand(ask, desk: Path, tmp_path: Path):
    flags = (
        "--label shoe --count 2 --size 24x16 --seed 3 --temperature 0.9 --top-k 9 --top-p 0.9 --guidance 2"
    )
    assert ask("pixelcnn", tmp_path / "a.png", *flags.split()) == 0
    prior, codec = Prior.from_pretrained("pixelcnn"), Codec.from_pretrained("codec")
    condition, sampling = {"label": torch.tensor([1])}, Sampling(0.9, 9, 0.9, 3)
    codes = prior.generate((4, 6), condition, sampling, steering=Steering(2.0), count=2).indices
    for i in (0, 1):
        found = pixels(tmp_path / f"a-{i + 1}.png")
        assert found.shape == (16, 24, 3)
        np.testing.assert_array_equal(found, levels(codec.decode(Codes(codes[i : i + 1]))))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-1.png", "a-2.png"]
    assert not torch.equal(codes[0], codes[1])


def test_flags_are_heard(ask, tmp_path: Path):
    plain = ["--grid", "4x5", "--label", "bag"]
    asked = {
        "plain": plain, "again": plain, "seed": [*plain, "--seed", "1"], "other": [*plain, "--label", "shoe"],
        "varied": [*plain, "--max-run", "1", "--penalty", "9", "--no-repeat", "2"],
        "guided": [*plain, "--guidance", "4"], "greedy": [*plain, "--temperature", "0"],
    }  # fmt: skip
    for name, flags in asked.items():
        assert ask("pixelcnn", tmp_path / f"{name}.png", *flags) == 0
    found = {name: pixels(tmp_path / f"{name}.png") for name in asked}
    assert found["plain"].shape == (16, 20, 3)
    np.testing.assert_array_equal(found.pop("again"), found["plain"])
    for name in set(found) - {"plain"}:
        assert not np.array_equal(found[name], found["plain"]), name


def test_what_it_is_told_by_maps_and_a_class_is_as_by_hand(ask, desk: Path, tmp_path: Path):
    told = "--told depth=near.png --told-codec depth=depth --told segmentation=things.png "
    told += "--told-codec segmentation=classes --label bag --continue near.png --rows 1 --seed 5"
    assert ask("gpt", tmp_path / "a.png", *told.split()) == 0
    prior, codec = Prior.from_pretrained("gpt"), Codec.from_pretrained("codec")
    near = torch.from_numpy(pixels(desk / "near.png").copy())[None, None] / 127.5 - 1
    things = torch.from_numpy(pixels(desk / "things.png").copy()).long()
    hot = torch.stack([(things == k).float() for k in range(5)])[None]
    condition = {"label": torch.tensor([0]), "depth": Codec.from_pretrained("depth").encode(near).indices}
    condition["segmentation"] = Codec.from_pretrained("classes").encode(hot).indices
    start = codec.encode(near.expand(1, 3, 16, 16)).indices[:, :, :1]
    codes = prior.generate((4, 4), condition, Sampling(seed=5), prefix=Codes(start))
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), levels(codec.decode(codes)))
    assert torch.equal(codes.indices[:, :, :1], start)
    wide = [*told.split(), "--size", "32x16"]
    assert ask("gpt", tmp_path / "wide.png", *wide) == 0
    assert pixels(tmp_path / "wide.png").shape == (16, 32, 3)


def test_numbers_are_told_as_they_are(ask, tmp_path: Path):
    told = ["--told", "points=1,8,0", "--told", "mood=2", "--grid", "2x3"]
    assert ask("more", tmp_path / "a.png", *told) == 0
    condition = {"points": torch.tensor([[1, 8, 0]]), "mood": torch.tensor([2])}
    codes = Prior.from_pretrained("more").generate((2, 3), condition)
    np.testing.assert_array_equal(
        pixels(tmp_path / "a.png"), levels(Codec.from_pretrained("codec").decode(codes))
    )


def test_half_of_a_picture_is_kept_and_all_come_on_one_sheet(ask, desk: Path, tmp_path: Path):
    flags = ["--size", "24x16", "--continue", "photo.png", "--count", "3", "--sheet"]
    assert ask("free", tmp_path / "a.png", *flags) == 0
    prior, codec = Prior.from_pretrained("free"), Codec.from_pretrained("codec")
    # 30 x 20 becomes 24 x 16 without a cut.
    small = Image.open(desk / "photo.png").resize((24, 16), Image.Resampling.LANCZOS)
    picture = torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1)[None] / 127.5 - 1
    start = codec.encode(picture).indices[:, :, :2]
    codes = prior.generate((4, 6), prefix=Codes(start), count=3).indices
    made = torch.cat([codec.decode(Codes(one)) for one in codes.split(1)])
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), sheet(made))
    assert not torch.equal(codes[0], codes[1])


def test_pictures_are_no_larger_than_the_codec_has_positions_of(ask, tmp_path: Path, capsys):
    """A codec of 3 x 3 patches at most, and a prior with a window of 4 x 4."""
    size = {"blocks": 1, "heads": 2, "width": 8, "hidden": 8}
    part = {"name": "vit", "size": size, "side": 12}
    config = {"room": "image", "rate": 1, "encoder": part | {"patch": 4}, "decoder": part}
    codec = Codec.build(config | {"quantizer": {"name": "vector", "codebook_size": 9}})
    codec.save_pretrained(tmp_path / "vit")
    prior = PRIORS["gpt"](9, size=Depth(1, 16, 2, 64, "given"), reading=Reading((4, 4)))
    prior.save_pretrained(tmp_path / "free")
    asked, free = {"codec": str(tmp_path / "vit")}, str(tmp_path / "free")
    assert ask(free, tmp_path / "a.png", **asked) == 0
    assert pixels(tmp_path / "a.png").shape == (12, 12, 3)
    assert ask(free, tmp_path / "b.png", "--size", "8", **asked) == 0
    assert pixels(tmp_path / "b.png").shape == (8, 8, 3)
    assert ask(free, tmp_path / "c.png", "--size", "16", **asked) == 2
    assert "a grid of 4 x 4 codes cannot be made up; give 1 to 3 a side" in capsys.readouterr().err


def test_grey_pictures_are_grey_files_and_maps_of_classes_numbers(ask, desk: Path, tmp_path: Path):
    for kind in ("depth", "classes"):
        codec = Codec.from_pretrained(kind)
        spec = Prior.from_pretrained("free").spec | {"codec": codec.fingerprint}
        prior = PRIORS.build(spec).eval()
        prior.save_pretrained(tmp_path / kind)
        assert ask(str(tmp_path / kind), tmp_path / f"{kind}.png", "--grid", "3x2", codec=kind) == 0
        made = codec.decode(prior.generate((3, 2)))
        found = pixels(tmp_path / f"{kind}.png")  # of a palette, the numbers themselves
        wanted = made[0].argmax(0).numpy() if kind == "classes" else levels(made)[..., 0]
        np.testing.assert_array_equal(found, wanted)
    assert ask(str(tmp_path / "classes"), tmp_path / "a.jpg", "--grid", "3x2", codec="classes") == 0
    assert pixels(tmp_path / "a.jpg").shape == (12, 8, 3)


DEPTH = "--told depth=near.png --told-codec depth=depth"
BOTH = f"{DEPTH} --told segmentation=things.png --told-codec segmentation=classes"
REFUSED = {
    "a voice": ("pixelcnn --speaker slt", "--speaker is for speech"),
    "seconds": ("pixelcnn --seconds 5", "--seconds is for speech"),
    "no size": ("pixelcnn --label bag", "give --size, in pixels, or --grid"),
    "two sizes": ("pixelcnn --label bag --size 8 --grid 2", "not both"),
    "no grid": ("pixelcnn --label bag --grid 2by3", "rows x columns"),
    "a torn size": ("pixelcnn --label bag --size 24x18", "multiples of 4"),
    "too large": ("pixelcnn --label bag --grid 2000", "1 to 1024 a side"),
    "no label": ("pixelcnn --grid 2", "give --label with one of bag, shoe"),
    "unknown label": ("pixelcnn --grid 2 --label hat", "no label called 'hat'; known: bag, shoe"),
    "needless label": ("free --grid 2 --label bag", "this one is told none"),
    "two labels": ("pixelcnn --grid 2 --label bag --told label=shoe", "give one of them"),
    "needless map": (f"pixelcnn --grid 2 --label bag {DEPTH}", "is not told depth; what it is told: label"),
    "a map of a class": ("pixelcnn --grid 2 --label bag --told-codec label=depth", "needs no codec"),
    "no depth": ("gpt --label bag", "give --told depth=FILE"),
    "no codec": ("gpt --label bag --told depth=near.png", "give --told-codec depth=FOLDER"),
    "no file": ("gpt --label bag --told-codec depth=depth", "give --told depth=FILE"),
    "another codec": ("gpt --label bag --told depth=near.png --told-codec depth=codec", "of another codec"),
    "missing file": ("gpt --label bag --told depth=no.png --told-codec depth=depth", "no.png is missing"),
    "no name": ("gpt --told near.png", "of the form NAME="),
    "said twice": ("gpt --told depth=a.png --told depth=b.png", "twice"),
    "no class map": (f"gpt --label bag {BOTH.replace('things', 'photo')}", "no map of class numbers"),
    "unknown class": (f"gpt --label bag {BOTH.replace('things', 'near')}", "near.png has classes from"),
    "beyond": ("more --told points=1,9 --told mood=0", "numbers, with commas between, from 0 to 8"),
    "two moods": ("more --told points=1 --told mood=0,1", "a number from 0 to 2"),
    "rows": ("free --grid 4 --rows 2", "leave --rows out"),
    "all rows": ("free --grid 4 --continue photo.png --rows 4", "give --rows from 1 to 3"),
    "one row": ("free --grid 1x4 --continue photo.png", "a larger --size"),
    "a broken picture": ("free --grid 4 --continue codec/config.json", "is not a picture"),
    "guided": ("free --grid 4 --guidance 2", "nothing to guide it to"),
    "a speaker's prior": ("spoken --grid 2", "pictures have no voice"),
    "codec of another room": ("gpt --label bag --told depth=near.png --told-codec depth=SOUND", "of speech"),
}


@pytest.mark.parametrize(("flags", "said"), REFUSED.values(), ids=REFUSED)
def test_refusals_are_sentences(ask, tmp_path: Path, tiny_codec: Path, capsys, flags: str, said: str):
    prior, *rest = (word.replace("SOUND", str(tiny_codec)) for word in flags.split())
    assert ask(prior, tmp_path / "no.png", *rest) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


def test_nothing_is_replaced_and_no_format_guessed(ask, tmp_path: Path, capsys):
    (tmp_path / "a-2.png").write_bytes(b"mine")
    flags = ["--grid", "2", "--count", "2"]
    assert ask("free", tmp_path / "a.png", *flags) == 2
    assert "--force" in capsys.readouterr().err
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"mine"]
    assert ask("free", tmp_path / "a.png", *flags, "--force") == 0
    assert pixels(tmp_path / "a-2.png").shape == (8, 8, 3)
    assert ask("free", tmp_path / "a.wav", "--grid", "2") == 2
    assert "must end in one of .jpg" in capsys.readouterr().err
    assert ask("pixelcnn", tmp_path / "b.png", "--grid", "2", "--label", "bag", codec="depth") == 2
    assert "codes of another codec" in capsys.readouterr().err
