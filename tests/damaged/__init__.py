"""Damaged and odd inputs to every verb: a sentence, an exit code, and nothing left behind.

The inputs are made here, by name; each case runs the real command line on them.
"""
