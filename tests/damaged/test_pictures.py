"""Pictures, stores of them, and codecs of another kind: a sentence, an exit code, nothing left behind."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from speechvq.codec import Codec
from speechvq.prior import PRIORS
from speechvq.store.arrays import INDEX, Kind, write_arrays
from speechvq.store.codes import StoredCodes, write_codes

from .place import split
from .sounds import noise
from .test_manifests import ENTRY, lines

RUN = "folder=out runtime.steps=1 runtime.batch_size=2 runtime.accelerator=cpu runtime.ema=0"
TINY = "model.encoder.size=tiny model.decoder.size=tiny"
VQVAE = f"train experiment=image_vqvae {TINY} {RUN}"
VQGAN = f"train experiment=image_vqgan {TINY} model.decoder.loss.perceptual.network=none {RUN}"
PIXELCNN = f"train experiment=image_pixelcnn model.prior.size=tiny {RUN}"
PLAIN = f"{PIXELCNN} ~model.told model.prior.labels=[] model.prior.label_dropout=0"
GPT = f"train experiment=image_gpt model.prior.size=tiny model.codec=rgb {RUN}"
SOUND = f"train experiment=speech_tiny data.manifest=good.jsonl {RUN}"


def picture(path: str, height: int = 32, width: int = 32, channels: int = 3) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(levels if channels == 3 else levels[..., 0]).save(path)


def store(folder: str, *, channels: int = 3, told: bool = False) -> None:
    kinds = {"picture": Kind((channels, 16, 16))}
    names = {"label": ("a", "b"), "segmentation": ("x", "y")} if told else {}
    if told:
        kinds |= {"label": Kind((), "int64"), "depth": Kind((1, 16, 16)), "segmentation": Kind((16, 16))}
    with write_arrays(folder, {"train": 4, "valid": 2}, kinds, names=names) as arrays:
        for part in arrays.values():
            part.get("label", np.zeros(1))[:] = 1


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Codecs of pictures with few, random weights, and a prior over the codes of the first."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    size = {"hidden": 4, "outer": 4, "residual": 4, "blocks": 0}
    for name, colours in {"rgb": 3, "grey": 1}.items():
        part = {"name": "vqvae", "colours": colours, "dim": 4, "size": size}
        book = {"name": "vector", "codebook_size": 16}
        config = {"room": "image", "rate": 1, "encoder": part, "quantizer": book, "decoder": part}
        Codec.build(config).save_pretrained(folder / name)
    part = {"name": "vqgan", "size": "tiny"}
    config = {"room": "image", "rate": 1, "encoder": part, "decoder": part, "quantizer": book}
    Codec.build(config).save_pretrained(folder / "gan")
    made_by = Codec.from_pretrained(folder / "rgb").fingerprint
    prior = PRIORS.build(
        {"name": "pixelcnn", "size": "tiny"}, codebook_size=16, num_codebooks=1, codec=made_by
    )
    prior.save_pretrained(folder / "prior")
    return folder


@pytest.fixture
def gallery(place: Path, models: Path) -> Path:
    """Pictures, good, small and broken; stores of some; the models; and code files."""
    for name in ("a.png", "photos/1.png", "photos/2.png", "photos/3.png", "photos/4.png"):
        picture(name)
    picture("small.png", 2, 40)
    Path("broken").mkdir()
    cut = Path("a.png").read_bytes()[:200]
    for name, data in {"empty.png": b"", "noise.jpg": noise(900), "cut.png": cut, "text.gif": b"hi"}.items():
        Path("broken", name).write_bytes(data)
    store("plain")
    store("told", told=True)
    store("greys", channels=1)
    shutil.copytree(models, place, dirs_exist_ok=True)
    made_by = Codec.from_pretrained("rgb").fingerprint
    for name, grid in {"a": (8, 8), "line": (8,), "film": (2, 2, 2), "hole": (0, 3)}.items():
        codes = StoredCodes(torch.zeros((1, 1, *grid), dtype=torch.int64), 16, 1.0, 0.25, grid, made_by)
        write_codes(f"{name}.svq", codes)
    entry = ENTRY | {"path": "a.svq"}
    Path("codes.jsonl").write_bytes(lines(entry, entry | {"split": "test"}))
    Path("examples.jsonl").write_bytes(lines(ENTRY))
    return place


BAD: dict[str, tuple[str, str]] = {
    "no-folder": (f"{VQVAE} data.root=none", "no folder none"),
    "no-root": (f"{VQVAE} data.root=", "data.root=FOLDER"),
    "empty-folder": (f"{VQVAE} data.root=hollow", "hollow has no pictures"),
    "all-broken": (f"{VQVAE} data.root=broken", "none of the 4 pictures"),
    "a-file": (f"{VQVAE} data.root=a.png", "no folder a.png"),
    "sounds": (f"{VQVAE} data.root=tree", "tree has no pictures"),
    "no-size": (f"{VQVAE} data.root=photos data.size=0", "data.size is 0"),
    "odd-size": (f"{VQVAE} data.root=photos data.size=30", "multiple of 4"),
    "two-channels": (f"{VQVAE} data.root=photos data.channels=2", "data.channels is 2"),
    "unknown-view": (f"{VQVAE} data.root=photos data.view=smell", "'smell'"),
    "no-view": (f"{VQVAE} data.root=photos data.view=depth", "no depth"),
    "encoder-grey": (f"{VQVAE} data.root=plain model.encoder.colours=1", "sees 1 channels"),
    "decoder-grey": (f"{VQVAE} data.root=plain model.decoder.colours=1", "sees 1 channels"),
    "critic-of-sound": (f"{VQGAN} data.root=plain objective.critic=sound", "objective.critic=patch"),
    "critic-channels": (f"{VQGAN} data.root=greys objective.channels=3", "objective.channels=1"),
    "critic-of-pictures": (f"{SOUND} objective.name=critic objective.critic=patch", "objective.critic=sound"),
    "prior-no-codec": (f"{PLAIN} data.root=plain model.codec=none", "none is not a model folder"),
    "prior-sound-codec": (f"{PLAIN} data.root=plain model.codec=CODEC", "room speech"),
    "prior-grey-codec": (f"{PLAIN} data.root=plain model.codec=grey", "has 3 channels, and its codec sees 1"),
    "prior-rgb-codec": (f"{PLAIN} data.root=greys model.codec=rgb", "has 1 channels, and its codec sees 3"),
    "prior-no-classes": (f"{PIXELCNN} data.root=plain model.codec=rgb", "no classes"),
    "sound-prior": (f"train experiment=speech_prior data.manifest=good.jsonl model.codec=rgb {RUN}", "room"),
    "told-smell": (f"{GPT} data.root=told +model.told.smell=rgb", "'smell'"),
    "told-sound": (f"{GPT} data.root=told +model.told.depth=CODEC", "room speech"),
    "told-channels": (f"{GPT} data.root=told +model.told.depth=rgb", "has 1 channels, and its codec sees 3"),
    "told-classes": (f"{GPT} data.root=told +model.told.segmentation=grey", "has 2 channels"),
    "told-nothing": (f"{GPT} data.root=plain +model.told.depth=grey", "no depth"),
    "told-no-codec": (f"{GPT} data.root=told +model.told.depth=null", "model.told.depth=FOLDER"),
    "told-label-codec": (f"{GPT} data.root=told +model.told.label=rgb", "model.told.label=null"),
    "told-no-label": (f"{GPT} data.root=plain +model.told.label=null", "no classes"),
    "told-a-word": (f"{GPT} data.root=told +model.told=depth", "model.told.NAME"),
    "encode-by-sound": ("encode a.png out.svq --codec CODEC", "a.png is damaged or not audio"),
    "encode-a-sound": ("encode a.wav out.svq --codec rgb", "a.wav is not a picture"),
    "encode-sounds": ("encode tree out --codec rgb", "no files that end in .jpg"),
    "encode-pictures-by-sound": ("encode photos out --codec CODEC", "no files that end in .wav"),
    "encode-small": ("encode small.png out.svq --codec gan", "small.png is too small"),
    "encode-none": ("encode none.png out.svq --codec rgb", "none.png"),
    "encode-stdin": ("encode - out.svq --codec rgb", "in place of -"),
    "encode-there": ("encode a.png b.svq --codec rgb", "b.svq is already there"),
    "decode-line": ("decode line.svq out.png --codec rgb", "no codes of a picture"),
    "decode-film": ("decode film.svq out.png --codec rgb", "no codes of a picture"),
    "decode-hole": ("decode hole.svq out.png --codec rgb", "no codes of a picture"),
    "decode-other": ("decode a.svq out.png --codec grey", "another codec"),
    "decode-by-sound": ("decode a.svq out.wav -s slt --codec CODEC", "another codec"),
    "decode-to-sound": ("decode a.svq out.wav --codec rgb", "out.wav is no name of a picture"),
    "decode-voice": ("decode a.svq out.png -s slt --codec rgb", "no voice"),
    "decode-there": ("decode a.svq a.png --codec rgb", "a.png is already there"),
    "convert": ("convert a.png out.png --codec rgb", "of pictures"),
    "convert-live": ("convert a.wav out.wav --live --codec rgb", "of pictures"),
    "convert-a-picture": ("convert a.png out.wav -s slt --codec CODEC", "a.png is damaged or not audio"),
    "score-conversion": ("score conversion good.jsonl --out out --codec rgb", "of room image"),
    "score-units": ("score units rgb good.jsonl --out out", "codec of speech"),
    "score-prior-codes": ("score prior prior codes.jsonl --out out --codec rgb", "codes of sound"),
    "score-prior-sounds": (
        "score prior prior good.jsonl --out out --codec rgb",
        "this codec is of room image",
    ),
    "demo": ("demo --codec rgb --out out", "of room image"),
    "prepare-none": ("prepare pictures none --out out", "no folder none"),
    "prepare-empty": ("prepare pictures hollow --out out", "hollow has no pictures"),
    "prepare-broken": ("prepare pictures broken --out out", "none of the 4 pictures"),
    "prepare-a-file": ("prepare pictures a.png --out out", "no folder a.png"),
    "prepare-there": ("prepare pictures photos --out plain", "already there"),
    "prepare-onto-a-file": ("prepare pictures photos --out a.png", "a.png"),
    "prepare-no-size": ("prepare pictures photos --out out --size 0", "--size 0"),
    "prepare-huge": ("prepare pictures photos --out out --size 99999", "at most 4096"),
    "prepare-share": ("prepare pictures photos --out out --valid 2", "--valid"),
    "mnist-none": ("prepare mnist none --out out", "does not look like MNIST"),
    "fashion-none": ("prepare fashion_mnist photos --out out", "does not look like MNIST"),
    "fashion-a-sound": ("prepare fashion_mnist a.wav --out out", "does not look like MNIST"),
    "cifar-none": ("prepare cifar10 photos --out out", "CIFAR-10"),
    "doom-there": ("prepare vizdoom --frames 10 --out plain", "already there"),
    "doom-small": ("prepare vizdoom --frames 10 --out out --size 64x4", "8 pixels a side"),
    "doom-half": ("prepare vizdoom --frames 10 --out out --size 64x", "--size 64x"),
    "doom-huge": ("prepare vizdoom --frames 10 --out out --size 99999x64", "at most 4096"),
    "doom-level": ("prepare vizdoom --frames 10 --out out --level opera", "'opera'"),
    "doom-shares": ("prepare vizdoom --frames 10 --out out --valid 0.6 --test 0.6", "none is left"),
}


@pytest.mark.usefixtures("gallery")
@pytest.mark.parametrize(("command", "said"), BAD.values(), ids=BAD)
def test_bad_pictures(refused: Callable[..., str], tiny_codec: Path, command: str, said: str) -> None:
    words = [word.replace("CODEC", str(tiny_codec)) for word in split(command, tiny_codec)]
    assert said in " ".join(refused(*words).split())


@pytest.mark.usefixtures("gallery")
@pytest.mark.parametrize("name", ["empty.png", "noise.jpg", "cut.png", "text.gif"])
def test_a_broken_picture(refused: Callable[..., str], name: str) -> None:
    assert f"broken/{name}" in refused("encode", f"broken/{name}", "out.svq", "--codec", "rgb")


def array(name: str, split: str = "train") -> Path:
    return next(Path("told").glob(f"{split}-{name}-*.npy"))


def index(**changes: object) -> None:
    path = Path("told") / INDEX
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def cut(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])


BAD_STORE: dict[str, Callable[[], object]] = {
    "cut-index": lambda: cut(Path("told") / INDEX, 60),
    "empty-index": lambda: cut(Path("told") / INDEX, 0),
    "list-index": lambda: (Path("told") / INDEX).write_text("[1]"),
    "version": lambda: index(version=9),
    "counts": lambda: index(counts={"train": 5}),
    "list-names": lambda: index(names=[3]),
    "few-names": lambda: index(names={"label": ["a"]}),
    "outside": lambda: index(files={"train": {"picture": "../a.png"}, "valid": {}}),
    "no-file": lambda: array("picture").unlink(),
    "empty-file": lambda: cut(array("picture"), 0),
    "cut-header": lambda: cut(array("picture"), 100),
    "cut-file": lambda: cut(array("picture"), -1),
    "cut-valid": lambda: cut(array("picture", "valid"), -1),
    "pickle": lambda: np.save(array("label"), np.array([{}] * 4), allow_pickle=True),
    "float-label": lambda: np.save(array("label"), np.full(4, 0.5)),
    "negative-label": lambda: np.save(array("label"), np.full(4, -1)),
    "large-label": lambda: np.save(array("label"), np.full(4, 2)),
    "small-depth": lambda: np.save(array("depth"), np.zeros((4, 1, 5, 5), np.uint8)),
    "flat-segmentation": lambda: np.save(array("segmentation"), np.zeros(4, np.uint8)),
    "float-picture": lambda: np.save(array("picture"), np.zeros((4, 3, 16, 16))),
    "five-channels": lambda: np.save(array("picture"), np.zeros((4, 5, 16, 16), np.uint8)),
    "valid-channels": lambda: np.save(array("picture", "valid"), np.zeros((2, 1, 16, 16), np.uint8)),
}


@pytest.mark.usefixtures("gallery")
@pytest.mark.parametrize("how", BAD_STORE)
def test_a_damaged_store(refused: Callable[..., str], how: str) -> None:
    for path in Path("told").iterdir():  # written out, for a map of a truncated file is not to be met here
        path.write_bytes(path.read_bytes())
    BAD_STORE[how]()
    assert "told" in refused(*f"{PIXELCNN} data.root=told model.codec=rgb".split())


def test_a_full_disk_while_preparing(gallery: Path) -> None:
    """A file system of its own that is too small; a map written on a full one would kill the process."""
    store = (
        "mkdir full && mount -t tmpfs -o size=300k none full && "
        f"{sys.executable} -m speechvq prepare pictures photos --out full/out --size 128; code=$?; "
        "find full -type f; exit $code"
    )
    unshare = ["unshare", "--mount", "--map-root-user"]
    if shutil.which("unshare") is None or subprocess.run([*unshare, "true"], check=False).returncode:
        pytest.skip("no file system can be made here")
    done = subprocess.run([*unshare, "sh", "-c", store], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("speechvq: the disk is full")
    assert done.stdout == ""
