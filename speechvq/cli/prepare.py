"""``speechvq prepare``: a manifest of your own folder, or of a published corpus."""

import typer


def register(app: typer.Typer) -> None:
    """Add the verb and its corpora."""
    verb = typer.Typer(no_args_is_help=True)
    app.add_typer(verb, name="prepare", help="Make a manifest of recordings.")
