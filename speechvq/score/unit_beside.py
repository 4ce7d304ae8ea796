"""Other codecs beside this one: purity and information against the number of units and their rate.

Purity rises with the number of units and the rate, so a figure says something only beside those of codecs
of another size. They are read from the ``units.json`` of earlier reports.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from speechvq.errors import BadSetting


@dataclass(frozen=True)
class Point:
    """One codec in few figures.

    Attributes:
        name: of the report's folder.
        codebook_size: units that there could be.
        frame_rate: units a second.
        bitrate: bit/s, ZeroSpeech 2019.
        phone_purity: in [0, 1].
        pnmi: in [0, 1].
        f1: of boundaries within 20 ms, after duration-penalised segmentation where that was done.
    """

    name: str
    codebook_size: int
    frame_rate: float
    bitrate: float
    phone_purity: float
    pnmi: float
    f1: float


def point(name: str, figures: dict[str, Any]) -> Point:
    """The figures of a report, as its ``units.json`` holds them.

    Raises:
        BadSetting: they were measured without phones, or are of something else.
    """
    try:
        about, agreement = figures["about"], figures["agreement"]
        size = int(about["codebook_size"]) ** int(about.get("num_codebooks", 1))
        return Point(
            name, size, float(about["frame_rate"]), float(figures["codes"]["bitrate"]),
            float(agreement["phone_purity"]), float(agreement["pnmi"]),
            float((figures["segmented"] or figures["boundaries"])["f1"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise BadSetting(f"{name} holds no unit scores with phones that could stand beside others") from error


def read_point(folder: str | Path) -> Point:
    """The codec whose report lies in a folder.

    Raises:
        BadSetting: there is none, or as `point`.
    """
    path = Path(folder) / "units.json"
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadSetting(f"{path} cannot be read as unit scores: {error}") from error
    return point(path.parent.name, figures)


def beside(points: Sequence[Point], chart: Callable[[Sequence[Point]], str]) -> str:
    """A section with a ``chart`` and a table of several codecs; nothing for fewer than two."""
    if len(points) < 2:
        return ""
    rows = "".join(
        f"<tr><td>{escape(p.name)}</td><td>{p.codebook_size}</td><td>{p.frame_rate:g}</td><td>{p.bitrate:.0f}</td>"
        f"<td>{p.phone_purity:.3f}</td><td>{p.pnmi:.3f}</td><td>{p.f1:.2f}</td></tr>"
        for p in points
    )
    names = ("", "units", "units a second", "bit/s", "phone purity", "PNMI", "boundary F1")
    heads = "".join(f"<th>{name}</th>" for name in names)
    return (
        "<section><h2>Beside other codecs</h2><p>Purity rises with the number of units and their rate; "
        f"compare codecs of one size.</p>{chart(points)}"
        '<div class="wide" tabindex="0"><table class="units">'
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )
