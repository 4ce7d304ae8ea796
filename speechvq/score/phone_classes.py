"""Broad classes of ARPAbet phones, by manner of articulation, to colour a map of units by."""

from speechvq.store.folding import SILENCE, STRESSED

CLASSES = ("vowel", "diphthong", "approximant", "nasal", "fricative", "affricate", "stop", "silence", "other")
"""Every class, in the order of a legend; `other` is what no other class holds (another phone set)."""
_MEMBERS = {
    "vowel": "aa ae ah ao ax ax-h axr eh er ih ix iy uh uw ux",
    "diphthong": "aw ay ey ow oy",
    "approximant": "l el r w y",
    "nasal": "m em n en nx ng eng",
    "fricative": "f v th dh s z sh zh hh hv",
    "affricate": "ch jh",
    "stop": "p b t d k g dx q pcl bcl tcl dcl kcl gcl",
    "silence": SILENCE.lower(),
}
_CLASS_OF = {phone: name for name, phones in _MEMBERS.items() for phone in phones.split()}


def phone_class(phone: str) -> str:
    """The class of an ARPAbet label, in any case and with or without stress; one of `CLASSES`."""
    bare = phone[:-1] if STRESSED.fullmatch(phone) else phone
    return _CLASS_OF.get(bare.lower(), "other")
