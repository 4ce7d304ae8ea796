"""Other people's weights in, ours out: one small file a published model, and its map of names.

from speechvq.bridge import load
codec = load("last.ckpt", kind="taming", config="model.yaml")
"""

import importlib
import inspect
from pathlib import Path
from typing import Any

from speechvq.errors import UnknownName

KINDS = {
    "zerospeech": ("speechvq.bridge.zerospeech", "import_zerospeech"),
    "vqcpc": ("speechvq.bridge.vqcpc", "import_vqcpc"),
    "taming": ("speechvq.bridge.taming", "import_taming"),
    "rqvae": ("speechvq.bridge.rqvae", "import_rqvae"),
    "vit": ("speechvq.bridge.vit", "import_vit"),
}
"""Published models by name: the module of their bridge, and its function."""


def load(path: str | Path, *, kind: str, config: str | Path | None = None, **more: Any) -> Any:
    """The model of a published checkpoint, in evaluation mode: mostly a `speechvq.codec.Codec`.

    Args:
        path: the checkpoint.
        kind: whose it is, one of `KINDS`.
        config: the settings that were published with it, if that kind has any.
        more: options of that kind; see the function that `KINDS` names.

    Raises:
        UnknownName: there is no such kind, or it has no such option.
        BadCheckpoint: the file is no such checkpoint, or is damaged.
    """
    if kind not in KINDS:
        raise UnknownName("published model", kind, sorted(KINDS))
    module, name = KINDS[kind]
    function = getattr(importlib.import_module(module), name)
    options = more if config is None else more | {"config": config}
    known = [option for option in inspect.signature(function).parameters if option != "path"]
    for option in options:
        if option not in known:
            raise UnknownName(f"option of {kind}", option, known)
    return function(path, **options)
