"""Several manifests to one: python join.py OUT MANIFEST [MANIFEST ...]."""

import sys
from dataclasses import replace
from pathlib import Path

from speechvq.store.manifest import Entry, read_manifest, write_manifest


def main(out: Path, manifests: list[Path]) -> None:
    """Join; texts of other languages than English are left out, because the words are scored in English."""
    write_manifest(out, [_entry(e) for path in manifests for e in read_manifest(path)], force=True)


def _entry(entry: Entry) -> Entry:
    foreign = entry.speaker[:3] in ("es_", "fr_", "it_", "ru_")
    return replace(entry, text=None) if foreign else entry


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
