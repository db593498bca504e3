"""A local server that takes what the LangSmith client sends."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# One JSON body for many runs, and no threads that are started under load.
INGEST = {
    "use_multipart_endpoint": False,
    "size_limit": 100,
    "size_limit_bytes": 20_000_000,
    "scale_up_nthreads_limit": 1,
    "scale_up_qsize_trigger": 1000,
    "scale_down_nempty_trigger": 4,
}


class TraceReceiver:
    """The runs that were sent, each with its later changes merged in."""

    def __init__(self) -> None:
        self.url = ""
        self.keys: set[str] = set()
        self._runs: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def take(self, body: dict[str, Any], key: str) -> None:
        with self._lock:
            self.keys.add(key)
            for run in [*body.get("post", []), *body.get("patch", [])]:
                known = self._runs.setdefault(run["id"], {})
                known.update({name: value for name, value in run.items() if value is not None})

    def runs(self) -> list[dict[str, Any]]:
        """All runs, in the order of their start."""
        with self._lock:
            return sorted(self._runs.values(), key=lambda run: str(run.get("start_time")))


@contextmanager
def run_trace_receiver() -> Iterator[TraceReceiver]:
    """The receiver on a free port while the block runs."""
    receiver = TraceReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({"batch_ingest_config": INGEST})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            receiver.take(json.loads(body), self.headers.get("x-api-key", ""))
            self._answer({})

        def _answer(self, body: dict[str, Any]) -> None:
            content = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
