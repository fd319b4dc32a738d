"""Modu (모두): the public AI service in a box."""

__version__ = "0.1.0"
