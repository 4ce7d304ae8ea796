"""``speechvq demo``: the bundled recordings in every voice, or a tiny model trained while you wait."""

import typer


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog="Example: speechvq demo --out outputs/demo")(demo)


def demo() -> None:
    """Speak bundled recordings in every voice."""
