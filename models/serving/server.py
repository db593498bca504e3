"""The llama.cpp server of one model file, in this process, on its own threads."""

from __future__ import annotations

import errno
import importlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import Unavailable

ERRORS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """How a model is served. ``context`` is in tokens and for each of the ``slots`` requests worked on at once."""

    name: str
    path: Path
    host: str = "127.0.0.1"
    port: int = 0
    threads: int | None = None
    slots: int = 2
    context: int = 4096


def check_port(host: str, port: int) -> None:
    """Find out before the download whether the address can be listened on.

    Raises:
        Unavailable: it is taken, or not an address of this machine.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Unavailable(f"Port {port} of {host!r} is in use: stop what uses it, or choose another") from error
        raise Unavailable(f"Cannot listen on port {port} of {host!r}: {error.strerror}") from error


def start(options: ServerOptions) -> tuple[Any, str]:
    """Load the model and serve it; the server (which stops when it is let go) and its base URL.

    Raises:
        Unavailable: the file cannot be loaded, or the address cannot be listened on.
    """
    # Threads that wait must sleep, not spin: two spinning threads on two cores starve the rest of the machine,
    # and then each other. OpenMP reads it when its library is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    llama = importlib.import_module("xllamacpp")
    try:
        server = llama.Server(_parameters(llama.CommonParams(), options))
    except RuntimeError as error:
        raise Unavailable(
            f"llama.cpp cannot serve {options.path.name!r} on port {options.port} of {options.host!r}; "
            f"if the file is damaged, delete {str(options.path)!r} and start again"
        ) from error
    return server, f"{server.listening_address}/v1"


def _parameters(parameters: Any, options: ServerOptions) -> Any:
    threads = options.threads or len(os.sched_getaffinity(0))
    parameters.model.path = str(options.path)
    parameters.model_alias = {options.name}
    parameters.hostnames = [options.host]
    parameters.port = options.port
    parameters.n_parallel = options.slots
    parameters.n_ctx = options.slots * options.context
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = threads
    parameters.cache_prompt = True
    parameters.use_jinja = True
    parameters.warmup = True
    parameters.endpoint_slots = True
    parameters.endpoint_metrics = True
    parameters.fit_params = False
    parameters.ui = False
    parameters.cors_origins = ""
    parameters.cors_origins_explicit = True
    parameters.cors_credentials = False
    # It warns of oddities in the files that nobody can act on, and at higher levels logs what is asked.
    parameters.verbosity = ERRORS
    return parameters
