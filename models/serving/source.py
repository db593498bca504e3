"""What all sources of model files have in common: how they fail."""

from __future__ import annotations


class SourceFailed(Exception):
    """This source does not deliver the file; the message says why, in half a sentence."""
