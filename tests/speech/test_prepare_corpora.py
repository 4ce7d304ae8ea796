"""`prepare` for the published corpora, on small trees in their layouts."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from speechvq.errors import BadSetting, UnknownName
from speechvq.speech.prepare import Options
from speechvq.speech.prepare.librispeech import librispeech
from speechvq.speech.prepare.ljspeech import ljspeech
from speechvq.speech.prepare.timit import CORE, DEVELOPMENT, timit
from speechvq.speech.prepare.vctk import vctk
from speechvq.speech.prepare.zerospeech2019 import zerospeech2019
from speechvq.store.manifest import Entry

type Sound = Callable[..., Path]
THIRDS = Options(valid=0.3, test=0.3)


def text(path: Path, words: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(words, encoding="utf-8")


def by_name(entries: list[Entry]) -> dict[tuple[str, str], Entry]:
    return {(e.speaker, e.utterance): e for e in entries}


# -- VCTK -----------------------------------------------------------------------------------------------


@pytest.fixture
def vctk92(tmp_path: Path, sound: Sound) -> Path:
    """p280 without mic2, p315 without text, p362 with a hole, a sentence that two speakers read."""
    top = tmp_path / "VCTK-Corpus-0.92"
    for speaker in ("p225", "p280", "p315", "p362", "s5"):
        for number in ("005", "024", "025", "026", "027", "100"):
            for mic in (1, 2):
                missing = (speaker == "p280" and mic == 2) or (speaker, number, mic) == ("p362", "026", 2)
                if not missing:
                    name = f"{speaker}_{number}_mic{mic}.flac"
                    sound(top / "wav48_silence_trimmed" / speaker / name, rate=48000)
            words = f"All read {number}." if int(number) < 25 else f"{speaker} alone reads {number}."
            words = (
                "Two speakers read this." if (speaker, number) in (("p225", "027"), ("s5", "100")) else words
            )
            if speaker != "p315":
                text(top / "txt" / speaker / f"{speaker}_{number}.txt", words + "\n")
    (top / "wav48_silence_trimmed" / "log.txt").touch()
    return tmp_path


@pytest.mark.parametrize("below", [".", "VCTK-Corpus-0.92"])
def test_vctk_092(vctk92: Path, below: str, tmp_path: Path) -> None:
    found = by_name(vctk(vctk92 / below, tmp_path, options=THIRDS).entries)
    assert Counter(speaker for speaker, _ in found) == {"p225": 6, "p280": 6, "p315": 6, "p362": 5, "s5": 6}
    assert found["p225", "005"].path.endswith("p225_005_mic2.flac")
    assert found["p280", "005"].path.endswith("p280_005_mic1.flac")
    assert ("p362", "p362_026") not in found  # no change of microphone in the middle of a voice
    assert found["p225", "p225_025"].text == "p225 alone reads 025."
    assert found["p315", "p315_025"].text is None
    assert found["p225", "p225_025"].duration == pytest.approx(0.6)


def test_vctk_holds_out_sentences(vctk92: Path, tmp_path: Path) -> None:
    for seed in range(5):
        options = Options(valid=0.3, test=0.3, seed=seed)
        found = by_name(vctk(vctk92, tmp_path, options=options).entries)
        assert {e.split for e in found.values() if len(e.utterance) == 3} == {"train"}  # 005 and 024
        assert {e.split for e in found.values()} == {"train", "valid", "test"}
        assert found["p225", "p225_027"].split == found["s5", "s5_100"].split


def test_vctk_microphone_and_unseen_speakers(vctk92: Path, tmp_path: Path) -> None:
    prepared = vctk(vctk92, tmp_path, mic=1, unseen=("s5",))
    assert all("mic1" in e.path for e in prepared.entries)
    assert {e.split for e in prepared.entries if e.speaker == "s5"} == {"test"}
    assert all(len(e.utterance) > 3 for e in prepared.entries if e.speaker == "s5")
    assert sum("read by everybody" in why for why in prepared.skipped.paths) == 1
    assert prepared.skipped.total == 2
    with pytest.raises(UnknownName, match="p999"):
        vctk(vctk92, tmp_path, unseen=("p999",))
    with pytest.raises(BadSetting, match="microphones"):
        vctk(vctk92, tmp_path, mic=3)


def test_vctk_080(tmp_path: Path, sound: Sound) -> None:
    for name in ("p225_001", "p225_025", "p376_295"):
        sound(tmp_path / "VCTK-Corpus" / "wav48" / name[:4] / f"{name}.wav", rate=48000)
        text(tmp_path / "VCTK-Corpus" / "txt" / name[:4] / f"{name}.txt", f"Words of {name}.")
    (tmp_path / "VCTK-Corpus" / "wav48" / "p376" / "p376_295.raw").write_bytes(b"not a wav")
    found = by_name(vctk(tmp_path, tmp_path).entries)
    assert sorted(found) == [("p225", "001"), ("p225", "p225_025"), ("p376", "p376_295")]
    with pytest.raises(BadSetting, match="wav48_silence_trimmed"):
        vctk(tmp_path / "nowhere", tmp_path)


# -- LibriSpeech ----------------------------------------------------------------------------------------


@pytest.fixture
def libri(tmp_path: Path, sound: Sound) -> Path:
    for subset, speaker in (("train-clean-100", "19"), ("dev-clean", "84"), ("test-other", "61")):
        chapter = tmp_path / "LibriSpeech" / subset / speaker / "198"
        names = [f"{speaker}-198-{n:04}" for n in range(4)]
        for name in names:
            sound(chapter / f"{name}.flac")
        text(chapter / f"{speaker}-198.trans.txt", "".join(f"{name} WORDS OF {name[-1]}\n" for name in names))
    text(tmp_path / "LibriSpeech" / "dev-clean" / "84" / "198" / "84-198-0000.TextGrid", "File type")
    text(tmp_path / "grids" / "train-clean-100" / "19" / "198" / "19-198-0001.TextGrid", "File type")
    return tmp_path


@pytest.mark.parametrize("below", [".", "LibriSpeech"])
def test_librispeech(libri: Path, below: str, tmp_path: Path) -> None:
    found = by_name(librispeech(libri / below, tmp_path, alignments=libri / "grids").entries)
    assert Counter((e.speaker, e.split) for e in found.values()) == {
        ("19", "train"): 4,
        ("84", "valid"): 4,
        ("61", "test"): 4,
    }
    assert found["19", "19-198-0003"].text == "WORDS OF 3"
    grids = {e.utterance: e.alignment for e in found.values() if e.alignment}
    assert sorted(grids) == ["19-198-0001", "84-198-0000"]


def test_librispeech_subsets(libri: Path, tmp_path: Path) -> None:
    prepared = librispeech(libri, tmp_path, options=THIRDS, subsets=("train-clean-100",))
    assert {e.split for e in prepared.entries} == {
        "train",
        "valid",
        "test",
    }  # held out, as nothing else is there
    prepared = librispeech(libri, tmp_path, subsets=("train-clean-100", "dev-clean"))
    splits = Counter((e.speaker, e.split) for e in prepared.entries)
    assert splits["84", "valid"] == 4
    assert splits["19", "valid"] == 0
    assert splits["19", "test"] == 1
    with pytest.raises(UnknownName, match="LibriSpeech subset"):
        librispeech(libri, tmp_path, subsets=("train-clean",))
    with pytest.raises(UnknownName, match="train-other-500"):
        librispeech(libri, tmp_path, subsets=("train-clean-100", "train-other-500"))


# -- LJSpeech -------------------------------------------------------------------------------------------


def test_ljspeech(tmp_path: Path, sound: Sound) -> None:
    top = tmp_path / "LJSpeech-1.1"
    names = [f"LJ001-{n:04}" for n in range(1, 9)]
    for name in names:
        sound(top / "wavs" / f"{name}.wav", rate=22050)
    sound(top / "wavs" / "LJ999-0001.wav", rate=22050)
    lines = [f"{name}|In 1455 {name}|In fourteen fifty-five {name}" for name in [*names, "LJ002-0001"]]
    text(top / "metadata.csv", "\n".join(lines) + "\n")
    prepared = ljspeech(tmp_path, tmp_path, options=THIRDS)
    assert [e.utterance for e in prepared.entries] == names
    assert prepared.entries[0].text == "In fourteen fifty-five LJ001-0001"
    assert {e.split for e in prepared.entries} == {"train", "valid", "test"}
    assert {e.speaker for e in prepared.entries} == {"lj"}
    assert prepared.skipped.counts == {"is not in metadata.csv": 1, "does not exist": 1}
    (top / "metadata.csv").unlink()
    with pytest.raises(BadSetting, match="metadata"):
        ljspeech(tmp_path, tmp_path)


# -- TIMIT ----------------------------------------------------------------------------------------------


def test_timit_speakers() -> None:
    assert len(set(CORE.split())) == 24
    assert len(set(DEVELOPMENT.split())) == 50
    assert not set(CORE.split()) & set(DEVELOPMENT.split())


@pytest.mark.parametrize("lower", [False, True])
def test_timit(tmp_path: Path, sound: Sound, lower: bool) -> None:
    def case(name: str) -> str:
        return name.lower() if lower else name

    for side, speaker in (("TRAIN", "FCJF0"), ("TEST", "FELC0"), ("TEST", "FAKS0"), ("TEST", "FDAC0")):
        place = tmp_path / "TIMIT" / case(side) / case("DR1") / case(speaker)
        for sentence in ("SA1", "SX37", "SI648"):
            sound(place / case(f"{sentence}.WAV"), format="NIST", subtype="PCM_16")
            text(place / case(f"{sentence}.PHN"), "0 3050 h#\n3050 4559 sh\n4559 9600 iy\n")
            text(place / case(f"{sentence}.TXT"), "0 9600 She had your suit.\n")
    prepared = timit(tmp_path, tmp_path / "out")
    found = by_name(prepared.entries)
    assert {key: e.split for key, e in found.items()} == {
        ("fcjf0", "sx37"): "train", ("fcjf0", "si648"): "train", ("felc0", "sx37"): "test",
        ("felc0", "si648"): "test", ("faks0", "sx37"): "valid", ("faks0", "si648"): "valid",
    }  # fmt: skip
    entry = found["felc0", "sx37"]
    assert entry.text == "She had your suit."
    assert entry.alignment == str(Path(entry.path).with_suffix(case(".PHN")))
    assert entry.duration == pytest.approx(0.6)
    assert sorted(prepared.skipped.counts.values()) == [2, 4]


def test_timit_sphere_cut_short_is_left_out(tmp_path: Path, sound: Sound) -> None:
    place = tmp_path / "TRAIN" / "DR1" / "FCJF0"
    for name in ("SX37.WAV", "SX38.WAV"):
        sound(place / name, format="NIST", subtype="PCM_16")
    (tmp_path / "TEST").mkdir()
    (place / "SX38.WAV").write_bytes((place / "SX38.WAV").read_bytes()[:-100])
    prepared = timit(tmp_path, tmp_path)
    assert [e.utterance for e in prepared.entries] == ["sx37"]
    assert prepared.skipped.counts == {"is truncated": 1}


# -- ZeroSpeech 2019 ------------------------------------------------------------------------------------


@pytest.fixture
def zerospeech(tmp_path: Path, sound: Sound) -> Path:
    top = tmp_path / "2019" / "english"
    names = [f"unit/S{speaker:03}_{n:010}" for speaker in (15, 20) for n in range(5)]
    for name in [*names, "voice/V001_0000000001", "voice/V002_0000000001", "parallel/V001_0000000009"]:
        sound(top / "train" / f"{name}.wav", seconds=2.0)
    sound(top / "test" / "S002_0379088085.wav")
    lines = ["S015_0000000000 0.25 1.5", "S015_0000000001 0.0 0.75", "S015_0000000001 1.0 2.0"]
    lines += [f"{Path(name).name} 0.0 2.0" for name in names[2:-1]] + ["V001_0000000001 0.1 1.9"]
    text(top / "vads.txt", "file start end\n" + "\n".join(lines) + "\n")
    return tmp_path


@pytest.mark.parametrize("below", [".", "2019"])
def test_zerospeech2019(zerospeech: Path, below: str, tmp_path: Path) -> None:
    prepared = zerospeech2019(zerospeech / below, tmp_path, options=THIRDS)
    assert Counter(e.speaker for e in prepared.entries) == {
        "S015": 5,
        "S020": 5,
        "V001": 1,
        "V002": 1,
        "S002": 1,
    }
    assert {e.speaker for e in prepared.entries if e.split == "test"} == {"S002"}
    assert {e.split for e in prepared.entries} == {"train", "valid", "test"}


def test_zerospeech2019_stretches_of_speech(zerospeech: Path, tmp_path: Path) -> None:
    prepared = zerospeech2019(zerospeech, tmp_path, vad=True)
    found = by_name(prepared.entries)
    first = found["S015", "S015_0000000000"]
    assert (first.start, first.duration) == (0.25, 1.25)
    second = found["S015", "S015_0000000001-1"]
    assert (second.start, second.duration) == (1.0, 1.0)
    assert second.split == found["S015", "S015_0000000001-0"].split
    assert found["S002", "S002_0379088085"].duration == pytest.approx(0.6)
    assert prepared.skipped.counts == {"has no speech in vads.txt": 2}


def test_zerospeech2019_what_is_not_there(zerospeech: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="surprise"):
        zerospeech2019(zerospeech, tmp_path, language="french")
    with pytest.raises(BadSetting, match="surprise/train/unit"):
        zerospeech2019(zerospeech, tmp_path, language="surprise")
    path = zerospeech / "2019" / "english" / "vads.txt"
    path.write_text("S015_0000000000 0.25 1.5\nnonsense\n")
    with pytest.raises(BadSetting, match="line 2"):
        zerospeech2019(zerospeech, tmp_path, vad=True)
    path.unlink()
    with pytest.raises(BadSetting, match=r"no vads\.txt"):
        zerospeech2019(zerospeech, tmp_path, vad=True)
