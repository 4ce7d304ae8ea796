"""Forced alignment: phones where they are spoken, runs that go on, sentences about what cannot be done."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from speechvq.cli import main
from speechvq.errors import BadAlignment, BadSetting, MissingExtra, UnknownWords
from speechvq.score.words import normalise
from speechvq.speech.align import AlignOptions, align_manifest
from speechvq.speech.aligner import Aligner
from speechvq.speech.audio import read_audio, write_audio
from speechvq.speech.pronounce import read_dictionary, words_of
from speechvq.store.alignments import Folding, align_entries
from speechvq.store.manifest import Entry, read_manifest, write_manifest

TEXT = "Did the coach carry the mirror at midnight?"
# Phones and their ends in seconds, as flite 2.2 (-psdur) says that its voice slt speaks the sentence.
EXACT = """
pau:.224 d:.268 ih:.337 d:.410 dh:.436 ax:.467 k:.584 ow:.734 ch:.826 k:.906 ae:.972 r:1.102 iy:1.167 dh:1.229
ax:1.275 m:1.341 ih:1.393 r:1.498 er:1.621 ae:1.699 t:1.740 m:1.809 ih:1.872 d:1.892 n:1.967 ay:2.266 t:2.323
pau:2.465
"""
KNOWN = "the color it's dogs twenty five percent u s e mail o'clock and three d i"
SPOKEN = [(phone, float(end)) for phone, end in (word.split(":") for word in EXACT.split())]


@pytest.fixture(scope="module")
def recording(request: pytest.FixtureRequest) -> Path:
    return request.config.rootpath / "checkpoints/speech/examples/03_slt.flac"


@pytest.fixture(scope="module")
def aligner() -> Aligner:
    return Aligner({"midnight": [("M", "IH", "D")], "zyzzx": [("Z", "IH", "K", "S")]}, normalise)


def entry(path: Path, **changes: object) -> Entry:
    made = Entry(str(path), 0.0, 2.465, "slt", "en/03", "train", text=TEXT)
    return replace(made, **changes)  # pyright: ignore[reportArgumentType]


def test_phones_are_found_where_they_are_spoken(aligner: Aligner, recording: Path) -> None:
    intervals = aligner.align(read_audio(recording), TEXT)
    folded = Folding(timit39=True).fold(intervals)
    exact = [Folding(timit39=True).label(phone) for phone, _ in SPOKEN]
    assert [i.label for i in folded] == exact
    errors = [abs(i.end - end) for i, (_, end) in zip(folded, SPOKEN, strict=True)]
    assert sum(errors) / len(errors) < 0.02
    assert intervals[0].start == 0
    assert intervals[-1].end == pytest.approx(2.465)
    assert all(a.end == b.start for a, b in zip(intervals, intervals[1:], strict=False))


def test_nothing_of_the_last_recording_stays(aligner: Aligner, recording: Path) -> None:
    wave = read_audio(recording)
    first = aligner.align(wave, TEXT)
    aligner.align(wave * 0.1 + torch.randn(wave.shape) * 0.003, TEXT)
    assert aligner.align(wave, TEXT) == first
    assert aligner.align(wave[0] * 1.0, TEXT) == first


def test_words_of_ones_own_are_spoken(aligner: Aligner, recording: Path) -> None:
    cut = read_audio(recording)[:, : round(1.90 * 16000)]  # "... mirror at mid"
    labels = [i.label for i in aligner.align(cut, "did the coach carry the mirror at midnight")]
    assert [label for label in labels if label != "SIL"][-3:] == ["M", "IH", "D"]
    assert "Z" in [i.label for i in aligner.align(cut, "zyzzx the coach carry the mirror at midnight")]


def test_what_cannot_be_aligned(aligner: Aligner, recording: Path) -> None:
    wave = read_audio(recording)
    with pytest.raises(UnknownWords, match="dictionary: blorb, grmpf;") as caught:
        aligner.align(wave, "the blorb grmpf blorb")
    assert caught.value.words == ("blorb", "grmpf")
    for samples in (wave[:, :3000], wave[:, :100], wave[:, :0]):
        with pytest.raises(BadAlignment, match="does not fit its text"):
            aligner.align(samples, TEXT)
    with pytest.raises(BadAlignment, match="without words"):
        aligner.align(wave, "...?!")
    assert aligner.align(wave, TEXT)  # and it goes on


def test_texts_become_words() -> None:
    known = KNOWN.split().__contains__
    for text, words in (
        ("The COLOR... it’s", "the color it's"),
        ("dogs' colour", "dogs color"),
        ("25% & 3D", "twenty five percent and three d"),
        ("U.S. e-mail", "u s e mail"),
        ("I—O'Clock (a short tone) [sic]", "i o'clock"),
        ("", ""),
    ):
        assert words_of(text, known, normalise) == words.split()
    with pytest.raises(UnknownWords, match="25, colour"):
        words_of("25 colour 25", known)


def test_dictionaries(tmp_path: Path) -> None:
    path = tmp_path / "more.dict"
    path.write_text(";;; mine\n# mine\n\nPBX  P IY1 B IY2 EH1 K S\npbx(2) p ih\n")
    assert read_dictionary(path) == {"pbx": [("P", "IY", "B", "IY", "EH", "K", "S"), ("P", "IH")]}
    for line, sentence in (
        ("a AX", "line 1: 'a' has the phone AX, .* ZH"),
        ("a", "line 1: 'a' has no phones"),
    ):
        path.write_text(line)
        with pytest.raises(BadAlignment, match=sentence):
            read_dictionary(path)
    with pytest.raises(BadAlignment, match="cannot be read"):
        read_dictionary(tmp_path / "none")


def test_corpora_are_aligned_and_runs_go_on(recording: Path, tmp_path: Path) -> None:
    late = tmp_path / "late.wav"  # the same after half a second, of which the entry is a part
    wave = read_audio(recording)
    write_audio(late, torch.cat([torch.randn(1, 8000) * 1e-3, wave], 1), 16000)
    entries = [
        entry(recording),
        entry(late, start=0.5, duration=2.46, processing={"cut": 2.0}),
        entry(recording, text=None, alignment="mine.phones"),
        entry(recording, text="blorb mirror"),
        entry(recording, duration=0.2),
        entry(tmp_path / "none.wav"),
        entry(recording, speaker="awb"),
    ]
    options = AlignOptions(speakers=("slt",))
    done = align_manifest(entries, tmp_path, options)
    assert (done.made, done.kept, done.unknown) == (2, 0, {"blorb": 1})
    reasons = [error.reason.split(" (")[0] for error in done.skipped]
    assert reasons[:3] == [
        "has no text", "has words that are not in the dictionary", "does not fit its text",
    ]  # fmt: skip
    assert [e.alignment is not None for e in done.entries] == [True, True, True, False, False, False, False]
    assert done.entries[2] == entries[2]
    files = [Path(done.entries[at].alignment or "") for at in (0, 1)]
    assert [path.relative_to(tmp_path).as_posix() for path in files] == [
        "phones/slt/en/03.phones", "phones/slt/en/03~2.phones",
    ]  # fmt: skip
    assert files[1].read_text().splitlines()[1].startswith("2.5000 ")
    one, two = align_entries(done.entries[:2]).values()
    assert [i.label for i in one] == [i.label for i in two]
    assert max(abs(a.start - b.start) for a, b in zip(one, two, strict=True)) < 0.03

    before = files[0].stat().st_mtime_ns
    files[1].write_text("cut off")
    more = align_manifest([*entries[:2], entry(recording, speaker="awb")], tmp_path, AlignOptions())
    assert (more.made, more.kept, more.skipped) == (2, 1, ())
    assert files[0].stat().st_mtime_ns == before
    assert align_manifest([entries[0]], tmp_path, replace(options, again=True)).made == 1


def test_corpora_of_which_nothing_can_be_aligned(recording: Path, tmp_path: Path) -> None:
    entries = [entry(recording, text="zut alors, c'est blorb")]
    with pytest.raises(BadAlignment, match="none of the 1 recordings.*most often: has words.*dictionary: "):
        align_manifest(entries, tmp_path)
    with pytest.raises(BadAlignment, match=f"{recording} has words .*blorb"):
        align_manifest([entry(recording), *entries], tmp_path, AlignOptions(refuse=True))
    with pytest.raises(BadSetting, match="no recording is of nobody or none"):
        align_manifest(entries, tmp_path, AlignOptions(speakers=("nobody", "none")))
    with pytest.raises(BadSetting, match="jobs"):
        AlignOptions(jobs=0)


def test_without_pocketsphinx(recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(MissingExtra, match=r"pocketsphinx.*speechvq\[score\]"):
        align_manifest([entry(recording)], tmp_path, AlignOptions(jobs=2))


def test_command_line(recording: Path, workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = {"a": TEXT, "b": "Did the coach carry the mirror at 12?", "c": "the pbx"}
    write_manifest("m.jsonl", [entry(recording, utterance=u, text=t) for u, t in texts.items()])
    command = ["align", "m.jsonl", "--out", "out", "--jobs", "2"]
    assert main(command) == 1
    said = capsys.readouterr().out
    assert "out/aligned.jsonl: 2 recordings aligned, 1 left out" in said
    assert "Not in the dictionary: pbx (1)" in said
    lines = [json.loads(line) for line in Path("out/aligned.jsonl").read_text().splitlines()]
    assert [line.get("alignment") for line in lines] == ["phones/slt/a.phones", "phones/slt/b.phones", None]
    assert len(align_entries(read_manifest("out/aligned.jsonl"))) == 2
    assert main(command) == 2
    assert "already there" in capsys.readouterr().err
    Path("more.dict").write_text("pbx P IY B IY EH K S\n")
    assert main(["align", "m.jsonl", "--out", "out", "--resume", "--dictionary", "more.dict"]) == 0
    assert "1 recordings aligned, 2 kept, 0 left out" in capsys.readouterr().out


def test_the_benchmark_tells_good_times_from_late_ones(
    checkout: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(checkout / "benchmarks"))
    import alignment

    def write(name: str, late: float) -> list[Entry]:
        start, lines = 0.0, []
        for phone, end in SPOKEN:
            moved = 2.465 if end == 2.465 else end + late
            lines.append(f"{start:.4f} {moved:.4f} {phone}\n")
            start = moved
        (workdir / name).write_text("".join(lines))
        return [entry(workdir / "a.wav", alignment=str(workdir / name))]

    exact = write("exact.phones", 0.0)
    good = alignment.compare(exact, write("good.phones", 0.0))
    assert (good["mean |error|, ms"], good["frames that agree"], good["of all boundaries"]) == (0, 1, 1)
    late = alignment.compare(exact, write("late.phones", 0.03))
    assert late["mean error (late is above 0), ms"] == pytest.approx(30)
    assert late["within 20 ms"] == 0
    assert late["frames that agree"] < 0.8
