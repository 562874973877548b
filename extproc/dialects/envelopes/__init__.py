"""Wrappers around a dialect where a provider serves the same format in a form of its own: another path, members that move, another framing.

The inner dialect is a constructor argument. A wrapper has the inner name, because between the two nothing is translated: a client of the inner
dialect is spliced, and its stream is unwrapped to the inner framing on the way.
"""
