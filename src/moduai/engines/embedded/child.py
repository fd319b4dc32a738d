"""The child process: ``python -m moduai.engines.embedded`` serves one GGUF file on a Unix socket.

Told by the environment, as ``modu up`` does (MODU_ENGINE_URL, MODU_ENGINE_KEY, the settings), or by
options. It keeps itself small and behind the gateway: less priority, a bound on memory (RLIMIT_DATA
counts what it allocates, not the weights, which are mapped from their file), first to go where the
system runs out of memory. SIGTERM ends it and takes the socket away; so does the end of its parent.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from moduai import log as logs
from moduai import settings
from moduai.child import TakenError, alone, stay_behind
from moduai.engines.address import AddressError, parse_url
from moduai.parent import CHECK_S, Parent

from .record import context, threads
from .template import LONGEST_ANSWER, STOPS, Sampling, base_template
from .weights import Weights, WeightsError, from_file, resolve

log = logging.getLogger(__name__)

NICENESS = 10
PROMPT_CACHE_MB = 256


class StartError(RuntimeError):
    """The child cannot serve; the text says why in one line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop. Exit status 0: stopped; 1: could not start; 2: called wrongly."""
    loaded = settings.load()
    logs.configure(loaded.settings.log, "engine")
    given = _parse(arguments)
    parent = Parent()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        weights = (
            from_file(given.model) if given.model else resolve(loaded.home, loaded.settings.embedded.model)
        )
        if weights is None:
            raise StartError("there are no weights, or their terms are not accepted")
        with alone(given.socket):
            given.socket.unlink(missing_ok=True)
            os.nice(NICENESS)
            stay_behind(loaded.settings.embedded.memory_mb)
            server = _serve(loaded.settings.embedded, weights, given.name or weights.name, given)
            log.info("engine ready", extra={"model": given.name or weights.name, "file": weights.path.name})
            while not (stop.wait(CHECK_S) or parent.gone):
                pass
            given.socket.unlink(missing_ok=True)
            log.info("engine stopped")
            _exit_at_once(server)
    except (StartError, TakenError, WeightsError) as error:
        log.error("engine cannot start", extra={"why": str(error)})  # noqa: TRY400  the line says it all
        return 1
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m moduai.engines.embedded", description=__doc__)
    parser.add_argument("--model", type=Path, help="GGUF file; default: the setting embedded.model")
    parser.add_argument("--socket", type=Path, help="where to listen; default: MODU_ENGINE_URL")
    parser.add_argument("--name", default="", help="name of the model; default: as the file says")
    given = parser.parse_args(arguments)
    given.key = os.environ.pop("MODU_ENGINE_KEY", "")
    if not given.key:
        parser.error("MODU_ENGINE_KEY is not set: the engine serves nobody without a key")
    if given.socket is None:
        try:
            path = parse_url(os.environ.get("MODU_ENGINE_URL", "")).path
        except AddressError:
            path = ""
        if not path:
            parser.error("give --socket, or MODU_ENGINE_URL as unix:///path")
        given.socket = Path(path)
    return given


def _serve(embedded: settings.Embedded, weights: Weights, name: str, given: argparse.Namespace) -> Any:
    """Load the weights and listen; returns once it does. Raises StartError."""
    import xllamacpp  # noqa: PLC0415  36 MB, and only this process needs it

    params = xllamacpp.CommonParams()
    params.model.path = str(weights.path)
    params.model_alias = {name}
    params.hostnames = [str(given.socket)]
    params.api_keys = [given.key]
    params.n_parallel = embedded.slots
    params.n_ctx = context(embedded, weights) * embedded.slots
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads(embedded)
    params.cache_ram_mib = min(PROMPT_CACHE_MB, embedded.memory_mb // 8)
    params.endpoint_metrics = True
    params.ui = params.warmup = False
    params.verbosity = 1  # errors only: no prompt is ever written
    params.use_jinja = True
    params.embedding = weights.facts.pooling
    if not (weights.facts.has_template or weights.facts.pooling):
        _make_it_answer(params)
    try:
        server = xllamacpp.Server(params)
    except RuntimeError:
        raise StartError(
            f"llama.cpp cannot serve {weights.path}: the lines above say why; "
            f"if memory is short, raise embedded.memory_mb ({embedded.memory_mb})"
        ) from None
    given.socket.chmod(0o600)
    return server


def _make_it_answer(params: Any) -> None:
    params.chat_template = base_template()
    params.antiprompt = list(STOPS)
    params.n_predict = LONGEST_ANSWER
    # a base model's prompts begin with the same examples: without this each is read again from its start
    params.swa_full = True
    sampling = Sampling()
    for field in sampling.__struct_fields__:
        setattr(params.sampling, field, getattr(sampling, field))


def _exit_at_once(server: Any) -> None:
    """End without llama.cpp's own tidying: it waits for answers that nobody reads any more."""
    assert server is not None  # noqa: S101  it is kept alive until here
    logging.shutdown()
    os._exit(0)
