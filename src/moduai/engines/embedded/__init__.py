"""The engine in the box: llama.cpp in a child process, so that the service answers without any other.

Words: the *weights* are one GGUF file, the *child* is the process that serves it on a Unix socket with a
key that comes from the keyring, the *record* says what it is. Rule: the gateway never loads this
package's child; what goes wrong here (memory, a crash, a bad file) ends the child alone, and the
supervisor starts it again. Without weights or without accepted terms there is no engine, and the
service runs.
"""

from __future__ import annotations

from .record import ENGINE_ID, record
from .weights import Weights, WeightsError, resolve

__all__ = ["ENGINE_ID", "Weights", "WeightsError", "record", "resolve"]
