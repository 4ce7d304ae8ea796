"""The tensors of the published RQ-VAE, and where each lies in ours.

kakaobrain/rq-vae-transformer (Lee et al. 2022). Its networks are those of VQGAN under the same names
(`speechvq.bridge.taming_names`). Of its codebooks there is one a depth: where depths share one, the same
tensors come under every depth's name. Each has a row of zeros behind its codes, for padding.
"""

import re

from speechvq.bridge import taming_names


def book_name(depth: int, leaf: str) -> str:
    """Their name of a tensor of one depth's codebook."""
    return f"quantizer.codebooks.{depth}.{leaf}"


EMBED = book_name(0, "weight")
"""The first depth's codes, and the row of zeros."""
_STATE = {"vectors": "weight", "counts": "cluster_size_ema", "sums": "embed_ema"}
_OWN = re.compile(r"^quantizer\.codebooks\.(\d+)\.(\w+)$")


def codec_name(own: str) -> str | None:
    """Their name of a codec's tensor, the first of several; None for what the published model has not."""
    if own.startswith("quantizer."):
        found = _OWN.match(own)
        leaf = None if found is None else _STATE.get(found[2])
        return None if found is None or leaf is None else book_name(int(found[1]), leaf)
    return taming_names.codec_name(own)
