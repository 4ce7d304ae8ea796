"""The results as tables and as a file."""

import json
from pathlib import Path

from quantizer_plan import CPU_SETTINGS, MEMORY, ROWS, Row, Shape
from rich.console import Console
from rich.table import Table

type Cell = dict
"""What `quantizer_cell.cell` returns."""


def key(cell: Cell) -> tuple[str, int, int, int, str]:
    """What makes a cell the same cell in another run."""
    return cell["row"], cell["N"], cell["D"], cell["K"], cell["setting"]


def merge(cells: list[Cell], new: Cell) -> None:
    """Put ``new`` into ``cells``: memory comes from one process for each contestant."""
    old = next((c for c in cells if key(c) == key(new)), None)
    if old is None:
        cells.append(new)
    elif new["row"] == "memory":
        for part in ("mib", "skipped"):
            old[part] = old.get(part, {}) | new.get(part, {})
    else:
        old.clear()
        old.update(new)


def peer_of(row: Row, cell: Cell) -> str:
    """The contestant that the ratio is against; on a GPU another one searches."""
    return "flash" if row.name == "search" and cell["setting"] == "cuda" else row.peer


def value(cell: Cell) -> float | None:
    """The figure that the bar is about, in the row's unit; None if it could not be measured."""
    row = ROWS[cell["row"]]
    if row.unit == "MiB":
        return cell.get("mib", {}).get("ours")
    times = cell.get("times", {})
    mine, theirs = times.get("ours"), times.get(peer_of(row, cell))
    if row.unit == "us":
        return mine and 1e3 * mine["ms"]
    return theirs["ms"] / mine["ms"] if mine and theirs else None


def judged(setting: str) -> bool:
    """Whether bars hold in this setting: one thread and a neutral allocator, or a GPU."""
    return setting in (CPU_SETTINGS[0].name, MEMORY.name, "cuda")


def summarise(cells: list[Cell]) -> list[dict[str, object]]:
    """For each row and setting the worst figure over its shapes, against the bar at that shape."""
    found = []
    for row in ROWS.values():
        for setting in dict.fromkeys(c["setting"] for c in cells):
            measured = [(value(c), c) for c in cells if c["row"] == row.name and c["setting"] == setting]
            measured = [(v, c) for v, c in measured if v is not None]
            if not measured:
                continue
            worst = min(measured, key=lambda vc, row=row: _margin(row, *vc))
            shape = _shape(worst[1])
            least, aim = row.bar(shape)
            found.append({
                "row": row.name, "setting": setting, "worst": worst[0], "unit": row.unit,
                "at": shape.words, "bar": least, "aim": aim,
                "shapes": len(measured), "judged": judged(setting),
                "met": sum(row.reached(v, row.bar(_shape(c))[0]) for v, c in measured),
                "aims met": sum(row.reached(v, row.bar(_shape(c))[1]) for v, c in measured),
            })  # fmt: skip
    return found


def _shape(cell: Cell) -> Shape:
    return Shape(cell["N"], cell["D"], cell["K"])


def _margin(row: Row, figure: float, cell: Cell) -> float:
    least = row.bar(_shape(cell))[0]
    return figure / least if row.unit == "x" else least / figure


def write(path: Path, about: dict[str, object], cells: list[Cell]) -> None:
    """The file beside the tables; whole or not at all, so that a killed run leaves the last good one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lists = {
        name: [json.dumps(line) for line in lines]
        for name, lines in (("summary", summarise(cells)), ("cells", cells))
    }
    parts = [f'"{name}": {json.dumps(what)}' for name, what in about.items()]
    parts += [f'"{name}": [\n  ' + ",\n  ".join(lines) + "\n ]" for name, lines in lists.items()]
    text = "{\n " + ",\n ".join(parts) + "\n}\n"
    beside = path.with_suffix(".part")
    beside.write_text(text)
    beside.replace(path)


def show(cells: list[Cell], console: Console) -> None:
    """All tables: a row's times in the setting that is judged, and the ratios in the others beside them."""
    for row in ROWS.values():
        mine = [c for c in cells if c["row"] == row.name]
        if mine:
            console.print(_table(row, mine))
    console.print(_summary_table(summarise(cells)))
    for cell in cells:
        for name, part in cell.get("parts", {}).items():
            console.print(
                f"~ {name} in {cell['row']} at {_shape(cell).words}, {cell['setting']}: {part} x its time "
                f"with 1/{part} of the vectors, since its heap would not fit"
            )
        for name, why in cell.get("skipped", {}).items():
            console.print(
                f"left out: {name} in {cell['row']} at {_shape(cell).words}, {cell['setting']}: {why}"
            )


def _table(row: Row, cells: list[Cell]) -> Table:
    settings = list(dict.fromkeys(c["setting"] for c in cells))
    first = next((s for s in settings if judged(s)), settings[0])
    part, shown_in = ("mib", "MiB") if row.unit == "MiB" else ("times", "ms")
    main = [c for c in cells if c["setting"] == first]
    names = list(dict.fromkeys(name for c in main for name in c.get(part, {})))
    ratio = f"{peer_of(row, cells[0])}/ours" if row.unit == "x" else row.unit
    table = Table(title=f"{row.title}; {shown_in}, {first}", title_justify="left", box=None, pad_edge=False)
    others = [s for s in settings if s != first]
    for column in ("N", "D", "K", *names, ratio, "bar", "aim", "", *others):
        table.add_column(column, justify="right")
    table.add_column(
        "inertia" if row.name == "kmeans" else "other codes than ours" if row.name != "memory" else ""
    )
    for cell in sorted(main, key=lambda c: (c["K"], c["D"], c["N"])):
        figures = [cell.get(part, {}).get(name) for name in names]
        shown = [_short(f["ms"] if isinstance(f, dict) else f) for f in figures]
        shown = [
            ("~" if name in cell.get("parts", {}) else "") + s for name, s in zip(names, shown, strict=True)
        ]
        same = {c["setting"]: c for c in cells if _shape(c) == _shape(cell)}
        beside = [_short(value(same[s])) if s in same else "-" for s in others]
        table.add_row(
            *(str(cell[axis]) for axis in "NDK"), *shown, *_verdict(row, cell), *beside, _agreement(cell)
        )
    return table


def _verdict(row: Row, cell: Cell) -> tuple[str, str, str, str]:
    figure = value(cell)
    least, aim = row.bar(_shape(cell))
    if figure is None:
        return "-", _short(least), _short(aim), "not measured"
    if not judged(cell["setting"]):
        return _short(figure), "", "", ""
    word = "aim met" if row.reached(figure, aim) else "met" if row.reached(figure, least) else "MISSED"
    return _short(figure), _short(least), _short(aim), word


def _agreement(cell: Cell) -> str:
    if "inertia" in cell:
        inertia = cell["inertia"]
        mine = inertia.get("ours", 0)
        return ", ".join(f"{n} {i:.4f} ({100 * (mine / i - 1):+.2f} %)" for n, i in inertia.items())
    parts, reasons_for = [], {"ties": "ties", "ours": "ours nearer", "theirs": "theirs nearer"}
    for name, d in cell.get("differ", {}).items():
        if name in ("vqp", "faiss", "flash", "cdist"):
            reasons = [f"{d[k]} {words}" for k, words in reasons_for.items() if d[k]]
            parts.append(f"{name} {d['rows']}" + (f" ({', '.join(reasons)})" if reasons else ""))
    return "; ".join(parts)


def _summary_table(lines: list[dict]) -> Table:
    table = Table(title="worst over the grid", title_justify="left", box=None, pad_edge=False)
    for column in ("row", "setting", "worst", "at N x D x K", "bar", "aim", "bar met", "aim met"):
        table.add_column(column, justify="left" if column in ("row", "setting") else "right")
    for line in lines:
        shown = f"{_short(line['worst'])}{' ' if line['unit'] != 'x' else ''}{line['unit']}"
        verdict = f"{line['met']} of {line['shapes']}" if line["judged"] else ""
        aims = f"{line['aims met']} of {line['shapes']}" if line["judged"] else ""
        table.add_row(
            line["row"], line["setting"], shown, line["at"],
            _short(line["bar"]), _short(line["aim"]), verdict, aims,
        )  # fmt: skip
    return table


def _short(figure: float | None) -> str:
    if figure is None:
        return "-"
    return f"{figure:.0f}" if figure >= 100 else f"{figure:.1f}" if figure >= 10 else f"{figure:.2f}"
