"""Fingerprints of requests' bodies."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.idempotency.fingerprint import Fingerprint


def fingerprint(pieces: list[bytes], content_type: bytes = b"application/json") -> bytes:
    made = Fingerprint(content_type)
    for piece in pieces:
        made.add(piece)
    return made.digest()


@given(st.lists(st.sampled_from([b"xy", b"x", b"y", b"--xy\r\n", b"z"])), st.integers(0, 30))
def test_how_a_body_is_cut_into_pieces_does_not_count(pieces: list[bytes], cut: int) -> None:
    whole, kind = b"".join(pieces), b"multipart/form-data; boundary=xy"
    assert fingerprint(pieces, kind) == fingerprint([whole], kind) == fingerprint([whole[:cut], whole[cut:]], kind)


def test_the_boundary_does_not_count_and_the_content_does() -> None:
    def upload(boundary: bytes, content: bytes) -> bytes:
        return fingerprint(
            [b"--", boundary, b"\r\nname\r\n", content, b"\r\n--", boundary, b"--"],
            b'multipart/form-data; boundary="' + boundary + b'"',
        )

    assert upload(b"one", b"text") == upload(b"three", b"text") != upload(b"one", b"other")


def test_json_is_told_apart_by_every_byte() -> None:
    assert fingerprint([b"{}"]) != fingerprint([b"{ }"])
