"""Closed tables of classes by name: what YAML and config.json may choose from, and nothing else.

``@ENCODERS.register("mel")`` puts a final class in a table and makes its objects remember, in
``.spec``, the name and the plain values they were made from; ``ENCODERS.build(spec)`` makes an
equal object again. A constructor argument annotated with a dataclass is given to YAML as a mapping.
"""

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from speechvq.errors import BadSetting, UnknownName


class Table[T]:
    """Names to classes of one kind, such as every encoder."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._classes: dict[str, type[T]] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._classes))

    def register[C: type](self, name: str) -> Callable[[C], C]:
        """Class decorator: list the class under ``name`` and record each object's ``.spec``."""

        def add(cls: C) -> C:
            original = cls.__init__
            signature = inspect.signature(original)

            @functools.wraps(original)
            def init(self: Any, *args: Any, **kwargs: Any) -> None:
                bound = signature.bind(self, *args, **kwargs)
                bound.apply_defaults()
                values = dict(list(bound.arguments.items())[1:])
                original(self, *args, **kwargs)
                self.spec = {"name": name} | {k: plain(v) for k, v in values.items()}

            cls.__init__ = init
            self._classes[name] = cast("type[T]", cls)
            return cls

        return add

    def __getitem__(self, name: str) -> type[T]:
        if name not in self._classes:
            raise UnknownName(self.kind, name, list(self))
        return self._classes[name]

    def build(self, spec: Mapping[str, Any], **fixed: Any) -> T:
        """Make the object that ``spec`` (``{"name": ..., setting: value, ...}``) describes.

        ``fixed`` are arguments the caller knows better than the file, such as a shared width.
        """
        if "name" not in spec:
            raise BadSetting(f"the {self.kind} has no name; known: {', '.join(self)}")
        cls = self[str(spec["name"])]
        values = {k: v for k, v in spec.items() if k != "name"} | fixed
        return _construct(cls, values, f"{self.kind} {spec['name']!r}")


def plain(value: Any) -> Any:
    """Dataclasses to dicts and tuples to lists, so that JSON and YAML can hold the value."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


def settings[S](cls: type[S], values: Mapping[str, Any], owner: str | None = None) -> S:
    """A settings dataclass from a plain mapping; an unknown field is an error that lists them."""
    return _construct(cls, values, owner or cls.__name__)


def preset[S](size: str | S, sizes: Mapping[str, S], owner: str, *, what: str = "size") -> S:
    """``size`` itself, or what is called so in ``sizes``; another name is a `BadSetting` that lists them.

    ``what`` it is of its ``owner``, for that sentence.
    """
    if not isinstance(size, str):
        return size
    if size not in sizes:
        raise BadSetting(f"there is no {what} {size!r} of the {owner}; known: {', '.join(sizes)}")
    return sizes[size]


def called[S](size: S, sizes: Mapping[str, S]) -> str | S:
    """The reverse of `preset`: the name of ``size`` in ``sizes``, the first of several, else itself."""
    return next((name for name, known in sizes.items() if known == size), size)


def _construct[C](cls: type[C], values: Mapping[str, Any], owner: str) -> C:
    target = inspect.unwrap(cls.__init__)
    hints = typing.get_type_hints(target)
    known = [p for p in inspect.signature(target).parameters if p != "self"]
    made = {}
    for key, value in values.items():
        if key not in known:
            raise UnknownName(f"setting of {owner}", key, known)
        made[key] = _typed(hints.get(key), value, f"{key} of {owner}")
    try:
        return cls(**made)
    except TypeError as error:
        raise BadSetting(f"{owner} cannot be made: {error}") from error


def _typed(hint: Any, value: Any, owner: str) -> Any:
    """Turn mappings into the dataclass, and lists into the tuple, that the annotation asks for."""
    options = typing.get_args(hint) if typing.get_origin(hint) is not None else ()
    for option in (hint, *options):
        if dataclasses.is_dataclass(option) and isinstance(value, Mapping):
            return _construct(cast("type", option), value, owner)
        if typing.get_origin(option) is tuple and isinstance(value, (list, tuple)):
            return tuple(value)
    return value
