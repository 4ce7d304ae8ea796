"""Who speaks, as a prior hears it: a learned vector for each voice, and perhaps one for nobody."""

from functools import partial

from speechvq.prior.labels import Names

Speakers = partial(Names, kind="speaker")
"""A table of voices, see `speechvq.prior.labels.Names`."""
