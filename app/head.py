"""The limit on a request's head, before anything of it is looked at: httptools alone takes headers of any length."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LONGEST = 64 << 10  # bytes
REFUSAL = (
    b'{"type": "/problems/too-large", "title": "Too large", "status": 431, "detail": "%(why)s", "message": "%(why)s", '
    b'"instance": ""}' % {b"why": b"The address and headers of a request may have 64 KiB. Send less."}
)


class BoundedHead(HttpToolsProtocol):
    """HTTP by httptools, which closes a connection whose request has a head above 64 KiB (and what one read brings)."""

    _head = 0
    _in_head = True

    def on_message_begin(self) -> None:
        """Begin to count."""
        super().on_message_begin()
        self._in_head = True

    def on_headers_complete(self) -> None:
        """The rest is the body, which has a limit of its own."""
        self._in_head = False
        self._head = 0
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Take in what has come, and refuse to take in more when it is too much."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        self._head += len(data) if self._in_head else 0
        if self._head > LONGEST and not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/problem+json\r\n"
                b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(REFUSAL), REFUSAL)
            )
            self.transport.close()
