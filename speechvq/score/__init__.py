"""How good units and voices are: code use and bitrate, words, speaker, naturalness, and a page to hear it.

``codes`` needs torch only. ``words`` and ``speech`` are the judges of speech, ``pairs`` has them judge
recordings, ``conversion`` a codec, ``summary`` makes the medians and ``report`` the page.
``streams`` are recordings as units with their phones; ``units``, ``phonemes``, ``segments``, ``dpdp``,
``language`` and ``voices`` say what the units mean.
"""
