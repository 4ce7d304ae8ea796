"""Pictures to code files and back at the command line; what a codec is shown is what training showed it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from speechvq.cli import main
from speechvq.codec import Codec, Codes
from speechvq.errors import BadPicture, BadSetting
from speechvq.image.data import open_corpus
from speechvq.serve.pictures import look
from speechvq.speech.audio import write_audio
from speechvq.store.codes import read_codes
from speechvq.store.manifest import Entry, write_manifest


def built(folder: Path, colours: int) -> Path:
    torch.manual_seed(colours)
    part = {"name": "vqvae", "size": "tiny", "colours": colours}
    quantizer = {"name": "vector", "codebook_size": 16, "start": {"by": "normal"}}
    config = {"room": "image", "rate": 1, "encoder": part | {"dim": 8}, "decoder": part}
    Codec.build(config | {"quantizer": quantizer}).save_pretrained(folder / f"of-{colours}")
    return folder / f"of-{colours}"


@pytest.fixture(scope="module")
def codecs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Folders of codecs by what they see: 1 grey, 3 RGB, 5 classes."""
    folder = tmp_path_factory.mktemp("codecs")
    return {colours: built(folder, colours) for colours in (1, 3, 5)}


def draw(path: Path, *shape: int, most: int = 256) -> np.ndarray:
    array = np.random.default_rng(0).integers(0, most, shape).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return array


def test_a_folder_there_and_back(workdir: Path, codecs, capsys):
    array = draw(Path("in/a.png"), 9, 14, 3)
    draw(Path("in/b/c.jpg"), 8, 8, 3)
    Path("in/b/bad.png").write_bytes(b"no")
    codec = ["--codec", str(codecs[3])]
    assert main(["encode", "in", "codes", *codec]) == 1
    shown = capsys.readouterr().err
    assert "in/b/bad.png" in shown
    assert "not a picture" in shown
    assert main(["decode", "codes", "out", *codec]) == 0
    assert sorted(p.as_posix() for p in Path("out").rglob("*.*")) == ["out/a.png", "out/b/c.png"]
    loaded, stored = Codec.from_pretrained(codecs[3]), read_codes("codes/a.svq")
    indices = loaded.encode(torch.from_numpy(array).permute(2, 0, 1)[None] / 127.5 - 1).indices
    assert torch.equal(stored.indices, indices)
    assert (stored.grid, stored.size) == ((3, 4), (9, 14))
    made = loaded.decode(Codes(indices))[0, :, :9, :14]
    wanted = ((made + 1) / 2 * 255).round().byte().permute(1, 2, 0)
    np.testing.assert_array_equal(np.asarray(Image.open("out/a.png")), wanted)


def test_maps_of_classes_come_back_as_numbers(workdir: Path, codecs):
    classes = draw(Path("a.png"), 8, 12, most=5)
    codec = ["--codec", str(codecs[5])]
    assert main(["encode", "a.png", "a.svq", *codec]) == 0
    assert main(["decode", "a.svq", "b.png", *codec]) == 0
    hot = torch.stack([torch.from_numpy(classes == k).float() for k in range(5)])[None]
    loaded = Codec.from_pretrained(codecs[5])
    made = loaded.decode(loaded.encode(hot))[0].argmax(0)
    np.testing.assert_array_equal(np.asarray(Image.open("b.png")), made)
    assert main(["encode", "b.png", "b.svq", *codec]) == 0  # with its palette as it is


@pytest.mark.parametrize("name", ["picture", "low", "edges"])
def test_what_is_shown_is_what_training_shows(workdir: Path, codecs, name: str):
    """The twin: a corpus of the one picture."""
    draw(Path("in/a.png"), 21, 50, 3)
    corpus = open_corpus({"root": "in", "size": [16, 24], "view": name, "valid": 0.0})
    data = corpus.split("train", still=True)
    codec = Codec.from_pretrained(codecs[1 if name == "edges" else 3])
    assert torch.equal(look("in/a.png", codec, name=name, size=(16, 24)), data.collate([data[0, 0]]).signal)


def test_maps_are_scaled_without_mixing_and_cut_at_the_middle(workdir: Path, codecs):
    classes = draw(Path("a.png"), 4, 10, most=5)
    seen = look("a.png", Codec.from_pretrained(codecs[5]), name="segmentation", size=(8, 16))
    wide = np.kron(classes, np.ones((2, 2), int))[:, 2:18]
    np.testing.assert_array_equal(seen[0].argmax(0), wide)
    depth = look("a.png", Codec.from_pretrained(codecs[1]), name="depth")
    np.testing.assert_allclose(depth[0, 0], classes / 127.5 - 1, atol=1e-6)


def test_what_cannot_be_seen_is_said(workdir: Path, codecs):
    draw(Path("a.png"), 8, 8, 3)
    draw(Path("b.png"), 8, 8, most=7)
    with pytest.raises(BadPicture, match="no map of class numbers"):
        look("a.png", Codec.from_pretrained(codecs[5]))
    with pytest.raises(BadPicture, match="has classes from 0 to 6; known are 5"):
        look("b.png", Codec.from_pretrained(codecs[5]))
    with pytest.raises(BadSetting, match="as edges has 1 channels; the codec for it sees 3"):
        look("a.png", Codec.from_pretrained(codecs[3]), name="edges")


def test_refusals_are_sentences(workdir: Path, codecs, tiny_codec: Path, capsys):
    draw(Path("a.png"), 8, 8, 3)
    write_audio("a.wav", 0.2 * torch.randn(1, 8000), 16000)
    codec = ["--codec", str(codecs[3])]
    assert main(["encode", "a.png", "a.svq", *codec]) == 0
    assert main(["encode", "a.wav", "sound.svq", "--codec", str(tiny_codec)]) == 0
    before = {path.name for path in Path().iterdir()}

    def refused(said: str, *command: str) -> None:
        assert main([*command]) == 2
        assert said in " ".join(capsys.readouterr().err.split())
        assert {path.name for path in Path().iterdir()} == before

    refused("a.wav is not a picture", "encode", "a.wav", "b.svq", *codec)
    refused("--force", "encode", "a.png", "a.svq", *codec)
    refused("in place of -", "encode", "a.png", "-", *codec)
    refused("in place of -", "decode", "-", "b.png", *codec)
    refused("holds no files that end in .jpg", "encode", str(codecs[3]), "out", *codec)
    refused("must end in one of .jpg", "decode", "a.svq", "b.mid", *codec)
    refused("made by another codec", "decode", "sound.svq", "b.png", *codec)
    refused("no voice called 'slt'", "decode", "a.svq", "b.png", "-s", "slt", *codec)
    refused("does not sample", "decode", "a.svq", "b.png", "--temperature", "0.5", *codec)
    refused("use encode and decode", "convert", "a.wav", "b.wav", *codec)
    refused("made by another codec", "decode", "a.svq", "b.wav", "-s", "slt", "--codec", str(tiny_codec))


def test_codes_of_pictures_are_not_scored_as_sound(workdir: Path, codecs, capsys):
    from speechvq.prior import PRIORS

    draw(Path("a.png"), 8, 8, 3)
    assert main(["encode", "a.png", "a.svq", "--codec", str(codecs[3])]) == 0
    shutil.copy("a.svq", "b.svq")
    mark = Codec.from_pretrained(codecs[3]).fingerprint
    PRIORS["pixelcnn"](16, size="tiny", codec=mark).save_pretrained("prior")
    for suffix, said in (
        (".svq", "does not hold 1 rows of codes of sound"),
        (".png", "this codec is of room image"),
    ):
        entries = [
            Entry(f"{name}{suffix}", 0.0, 1.0, "x", name, split)
            for name, split in (("a", "train"), ("b", "test"))
        ]
        write_manifest(Path("all.jsonl"), entries, force=True)
        assert main(["score", "prior", "prior", "all.jsonl", "--codec", str(codecs[3])]) == 2
        assert said in " ".join(capsys.readouterr().err.split())
