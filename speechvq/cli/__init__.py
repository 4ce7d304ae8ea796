"""The command line: ``speechvq VERB``, of which `speechvq --help` lists all.

One small file a verb. Whatever is wrong with the input ends as one sentence on stderr and an exit code
that is not zero; the environment variable ``SPEECHVQ_DEBUG=1`` shows the traceback instead.
"""

import errno
import logging
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console

import speechvq
from speechvq.cli import align, demo, files, generate, imports, prepare, score, train
from speechvq.errors import SpeechVQError

FAULT = 70
"""Exit code of what should not have happened: a fault of ours, not of the input."""

log = logging.getLogger("speechvq")
app = typer.Typer(
    name="speechvq",
    help="Learn discrete units from recordings, and speak them in another voice.",
    epilog="Example: speechvq convert me.wav slt.wav --speaker slt",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for verb in (prepare, align, train, files, generate, score, demo, imports):
    verb.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        Console().print(f"speechvq {speechvq.__version__}")
        raise typer.Exit


@app.callback()
def _start(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more on the way.")] = False,
) -> None:
    log.setLevel(logging.DEBUG if verbose else logging.INFO)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (by default the process's own) and return its exit code.

    0 done; 1 done in part (files were skipped) or interrupted; 2 the input or a flag is wrong;
    70 a fault of ours.
    """
    handler = logging.StreamHandler()  # what the library logs, as plain lines on stderr
    log.addHandler(handler)
    try:
        return _run(None if arguments is None else list(arguments))
    finally:
        log.removeHandler(handler)


def _run(arguments: list[str] | None) -> int:
    try:
        app(args=arguments, prog_name="speechvq")
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else int(leave.code is not None)
    except KeyboardInterrupt:
        return _say("interrupted; nothing half-written was left", 130)
    except BrokenPipeError:
        # The reader has left; Python would complain once more when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if os.environ.get("SPEECHVQ_DEBUG"):
            raise
        return _say(*_explain(error))
    return 0


def _explain(error: Exception) -> tuple[str, int]:
    """A sentence and an exit code."""
    if isinstance(error, SpeechVQError):
        return str(error), error.exit_code
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"the disk is full{where}; make room and run it again", 2
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return f"no permission to read or write{where}; choose another place", 2
        return f"{error.strerror or error}{where}", 2
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "there is not enough memory for this; take a smaller batch, or another --device", 2
    return (
        f"this should not have happened ({type(error).__name__}: {str(error)[:300]}); "
        "run it again with SPEECHVQ_DEBUG=1 to see where"
    ), FAULT


def _say(sentence: str, code: int) -> int:
    Console(stderr=True, highlight=False).print(f"speechvq: {sentence}", markup=False, soft_wrap=True)
    return code
