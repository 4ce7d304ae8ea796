"""What is in a folder, and command lines as lists."""

from pathlib import Path


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything in the folder, but for empty folders that were made for an output."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or path.is_file():
            found[str(path.relative_to(folder))] = path.read_bytes() if path.exists() else None
    return found


def split(command: str, codec: Path) -> list[str]:
    words = [word if word != "''" else "" for word in command.split(" ")]
    return [str(codec) if word == "CODEC" else word for word in words]
