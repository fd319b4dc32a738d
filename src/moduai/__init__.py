"""Modu (모두): the public AI service in a box."""

from moduai import compiled

__version__ = "0.1.0"

compiled.use()
