"""Every error a person can cause, as a sentence: what was wrong, where, what to do.

The command line prints the sentence and leaves with the error's ``exit_code``; a program catches
`SpeechVQError` or the one kind it can do something about.
"""


class SpeechVQError(Exception):
    """Base of every error that is about the user's input rather than about a fault of ours."""

    exit_code = 2


class UnknownName(SpeechVQError):
    """A name that is not in a closed table, or a setting its owner does not have."""

    def __init__(self, kind: str, name: str, known: list[str]) -> None:
        super().__init__(f"there is no {kind} called {name!r}; known: {', '.join(known) or 'none'}")


class BadSetting(SpeechVQError):
    """A setting whose value its owner cannot work with."""


class BadAudio(SpeechVQError):
    """A recording that cannot be used; the sentence names the file and the reason.

    ``reason`` is a short phrase ("is empty") by which a corpus run counts what it skipped.
    """

    def __init__(self, path: object, reason: str) -> None:
        self.path, self.reason = str(path), reason
        super().__init__(f"{path} {reason}")


class BadPicture(SpeechVQError):
    """A picture that cannot be used; the sentence names the file and the reason, a short phrase."""

    def __init__(self, path: object, reason: str) -> None:
        self.path, self.reason = str(path), reason
        super().__init__(f"{path} {reason}")


class BadManifest(SpeechVQError):
    """A manifest line that cannot be read; the sentence names the file and the line."""


class BadAlignment(SpeechVQError):
    """Phone times that cannot be read, used or made; the sentence names the file and the line."""


class UnknownWords(BadAlignment):
    """Words of a text that a pronouncing dictionary does not have, as ``words``."""

    def __init__(self, words: tuple[str, ...]) -> None:
        self.words = words
        super().__init__(
            f"not in the pronouncing dictionary: {', '.join(words)}; correct the text, or give their phones"
        )


class BadCheckpoint(SpeechVQError):
    """A checkpoint or model folder that is missing, truncated or not ours."""


class BadCodes(SpeechVQError):
    """A code file that is damaged, or that another codec made."""


class UnknownSpeaker(SpeechVQError):
    """A voice that the decoder was not trained on."""

    def __init__(self, name: str, known: list[str]) -> None:
        super().__init__(
            f"the decoder has no voice called {name!r}; it knows {', '.join(known) or 'none'} "
            "(or give the embedding of a reference recording)"
        )


class WouldOverwrite(SpeechVQError):
    """An output that is already there; nothing was written."""

    def __init__(self, path: object, *, how: str = "--force") -> None:
        super().__init__(f"{path} is already there; give {how} to replace it, or another name")


class MissingExtra(SpeechVQError):
    """An optional library that the asked-for feature needs."""

    def __init__(self, library: str, extra: str, feature: str) -> None:
        super().__init__(
            f"{feature} needs {library}, which is not installed: pip install 'speechvq[{extra}]'"
        )
