"""`prepare flite`: new sentences in four voices, with phone times; skipped where flite is not installed."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from speechvq.errors import BadSetting, UnknownName
from speechvq.speech.audio import read_audio
from speechvq.speech.prepare import Options
from speechvq.speech.prepare.flite import VOICES, flite
from speechvq.speech.prepare.sentences import split_of
from speechvq.store.manifest import Entry

needs_flite = pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
SOME = Options(valid=0.2, test=0.2)


def phones(entry: Entry) -> list[tuple[float, float, str]]:
    assert entry.alignment is not None
    lines = [line.split() for line in Path(entry.alignment).read_text().splitlines()]
    return [(float(start), float(end), name) for start, end, name in lines]


@needs_flite
def test_different_sentences_in_every_voice(tmp_path: Path) -> None:
    prepared = flite(None, tmp_path, options=SOME, sentences=5)
    assert prepared.skipped.total == 0
    counts = Counter((e.speaker, e.split) for e in prepared.entries)
    assert counts == {(v, s): n for v in VOICES for s, n in (("train", 3), ("valid", 1), ("test", 1))}
    assert len({e.text for e in prepared.entries}) == 20
    for entry in prepared.entries:
        assert entry.text is not None
        assert split_of(entry.text) == entry.split
        assert entry.path == str(tmp_path / "sounds" / entry.speaker / f"{entry.utterance}.flac")
        assert read_audio(entry.path).shape[1] / 16000 == pytest.approx(entry.duration, abs=1e-4)


@needs_flite
def test_phone_times_cover_the_sound(tmp_path: Path) -> None:
    for entry in flite(None, tmp_path, sentences=1).entries:
        times = phones(entry)
        assert times[0][0] == 0.0
        assert all(start < end for start, end, _ in times)
        assert all(before[1] == after[0] for before, after in zip(times, times[1:], strict=False))
        assert 0 <= entry.duration - times[-1][1] < 0.05
        pauses = [(start, end) for start, end, name in times if name == "pau"]
        wave = read_audio(entry.path)[0]
        loud = max(wave[int(s * 16000) : int(e * 16000)].abs().max() for s, e, n in times if n != "pau")
        start, end = pauses[0]  # the sound is where the times say it is
        assert wave[int(start * 16000) : int((end - 0.05) * 16000)].abs().max() < 0.2 * loud


@needs_flite
def test_same_sentences_in_every_voice(tmp_path: Path) -> None:
    entries = flite(None, tmp_path, sentences=4, voices=("slt", "awb"), parallel=True).entries
    spoken = {
        voice: {e.utterance: (e.text, e.split) for e in entries if e.speaker == voice}
        for voice in ("slt", "awb")
    }
    assert spoken["slt"] == spoken["awb"]
    assert len(spoken["slt"]) == 4


@needs_flite
def test_goes_on_where_it_was(tmp_path: Path) -> None:
    few = flite(None, tmp_path, sentences=2, voices=("slt",)).entries
    Path(few[0].path).unlink()
    kept = Path(few[1].path).stat().st_mtime_ns
    more = flite(None, tmp_path, sentences=4, voices=("slt",)).entries
    assert more[:2] == few
    assert Path(few[1].path).stat().st_mtime_ns == kept
    other = flite(None, tmp_path / "other", sentences=4, voices=("slt",), options=Options(seed=5)).entries
    assert not {e.text for e in other} & {e.text for e in more}


def test_impossible_wishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownName, match="slt"):
        flite(None, tmp_path, voices=("nobody",))
    for values in ({"sentences": 0}, {"voices": ()}):
        with pytest.raises(BadSetting, match="at least one"):
            flite(None, tmp_path, **values)  # pyright: ignore[reportArgumentType]
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadSetting, match="apt install flite"):
        flite(None, tmp_path)
