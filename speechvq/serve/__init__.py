"""Trained codecs at work: one recording (`files`), and a corpus (`bulk`)."""
