"""Training a second codec on the codes of a first one that is finished: pictures in three codes.

"Neural Discrete Representation Learning" (van den Oord et al. 2017, section 4.2), see
`speechvq.image.stacked`. The first codec looks at every picture once, before the first step; a batch holds
its codes in place of a signal.
"""

import importlib
import math

from speechvq.errors import BadSetting
from speechvq.train.critic import build_objective
from speechvq.train.settings import Settings
from speechvq.train.task import Task, finished, plan, room_data, warm_start


def open_stacked(settings: Settings) -> Task:
    """The task of a second codec over the codes of the first codec in ``model.first``.

    Raises:
        SpeechVQError: of whatever kind; something in the settings or the data cannot be used.
    """
    if settings.room != "image":
        raise BadSetting(f"a second codec is of the codes of pictures; room is {settings.room}, give image")
    if not settings.model["first"]:
        raise BadSetting("the codes of which codec? give model.first=FOLDER, the folder of a finished codec")
    if unknown := sorted(set(settings.model) - {"first", "encoder", "decoder"}):
        raise BadSetting(f"the model of a second codec is encoder, decoder and first, not {unknown[0]}")
    stacked, coded = (importlib.import_module(f"speechvq.{settings.room}.{n}") for n in ("stacked", "coded"))
    first = finished(settings.model["first"], settings.room)
    corpus, _ = room_data(settings)
    sides = coded.grid_of(corpus, first)
    spec = {name: settings.model.get(name) for name in ("encoder", "decoder")}
    codec = stacked.stack(first, sides, quantizer=settings.quantizer, **spec)
    facts = {"first": f"{first.encoder.spec['name']}, {sides[0]} x {sides[1]} codes for each picture"}
    facts |= plan(codec) | {"data": str(corpus)}
    if settings.init_from:
        facts["begins with"] = warm_start(codec, settings.init_from)
        stacked.lend(codec, first)
    blind = f"{math.log(first.quantizer.codebook_size):.3f} for a blind guess"
    facts["objective"] = f"nats per code of the first ({blind})"
    objective = build_objective(settings.objective, codec)
    codes = coded.open_codes(corpus, first, ("train", "valid"), told={}, device=settings.runtime.device)
    return Task(objective, codes["train"], codes["valid"], stacked.media, None, facts)
