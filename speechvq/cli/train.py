"""``speechvq train``: an experiment of ``configs/``, with what is to be different."""

from typing import Annotated

import typer
from rich.console import Console

Overrides = Annotated[
    list[str],
    typer.Argument(metavar="GROUP=NAME SETTING=VALUE ...", help="The experiment first, then what differs."),
]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog="Example: speechvq train experiment=speech data.manifest=my.jsonl")(train)


def train(overrides: Overrides) -> None:
    """Train a codec (settings: hydra overrides of configs/)."""
    from speechvq.train import compose
    from speechvq.train import train as work

    folder = work(compose(overrides))
    Console(stderr=True).print(f"trained: {folder}")
