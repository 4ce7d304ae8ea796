"""``speechvq score units``: everything on disk in one go, and refusals in sentences."""

import json
from pathlib import Path

import pytest

from speechvq.cli import main
from speechvq.store.manifest import Entry, write_manifest

PHONES = ["pau", "aa", "s", "iy", "t"]


@pytest.fixture
def given(tmp_path: Path, entries: list[Entry]) -> list[str]:
    """A manifest, and phones of 100 ms for each of its recordings."""
    write_manifest(tmp_path / "m.jsonl", entries)
    for entry in entries:
        path = tmp_path / "phones" / f"{Path(entry.path).stem}.phones"
        path.parent.mkdir(exist_ok=True)
        lines = [
            f"{0.1 * i:.1f} {0.1 * (i + 1):.1f} {PHONES[i % 5]}" for i in range(int(entry.duration * 10))
        ]
        path.write_text("\n".join(lines) + "\n")
    return [str(tmp_path / "m.jsonl"), "--alignments", str(tmp_path / "phones"), "--split", "all"]


def test_one_command_does_it_all(given, tiny_codec: Path, tmp_path: Path, capsys):
    out = tmp_path / "units"
    asked = ["score", "units", str(tiny_codec), *given, "--out", str(out)]
    extra = ["--fold39", "--abx", "--gender", "slt=woman", "--gender", "rms=man"]
    assert main([*asked, *extra]) == 0
    assert "PNMI" in capsys.readouterr().out
    names = {path.name for path in out.iterdir()}
    assert names == {"index.html", "units.json", "units.csv", "joint.csv", "textgrids"}
    assert len(list((out / "textgrids").rglob("*.TextGrid"))) == 4
    figures = json.loads((out / "units.json").read_text())
    assert figures["recordings"] == 4
    assert figures["agreement"]["phones"] == 5
    assert {p["target"] for p in figures["probes"]} == {"phone", "speaker", "gender"}
    assert main(asked) == 2
    assert "--force" in capsys.readouterr().err
    few = ["--speaker", "slt", "--limit", "1", "--force", "--beside", str(out)]
    assert main([*asked, *few]) == 0
    assert json.loads((out / "units.json").read_text())["recordings"] == 1


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--split", "dev"], "split"),
        (["--gender", "slt"], "slt=woman"),
        (["--speaker", "nobody"], "no recordings"),
        (["--beside", "nowhere"], "cannot be read"),
    ],
)
def test_refusals_are_sentences(given, tiny_codec: Path, tmp_path: Path, capsys, flags, said):
    asked = ["score", "units", str(tiny_codec), *given, "--out", str(tmp_path / "units"), *flags]
    assert main(asked) == 2
    assert said in capsys.readouterr().err
