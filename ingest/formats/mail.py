"""EML and MHTML: subject, people and date, the best body, text attachments; other attachments are named."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from core.domain import LoadedDocument
from core.errors import UnreadableDocument
from ingest.draft import Draft
from ingest.encoding import clean, decode
from ingest.formats.plain import write_plain
from ingest.formats.web import write_html

PEOPLE = ("From", "To", "Cc", "Date")
ENCRYPTED = "The message is encrypted. Decrypt it in the mail program, save it again and upload the new file."
READ_ATTACHMENTS = frozenset({"text/plain", "text/csv", "text/markdown", "text/html"})
MOST_DEPTH = 5


def load_eml(path: Path) -> LoadedDocument:
    """Read an e-mail; the attachments that were not read are named in the warnings.

    Raises:
        UnreadableDocument: it is encrypted, no message, or holds no text.
    """
    message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    if not isinstance(message, EmailMessage) or not message.keys():
        raise UnreadableDocument("The file is no e-mail: it has no headers.")
    draft = Draft()
    left = list(_write(draft, message, 1))
    return draft.finish(named_attachments(left))


def named_attachments(names: list[str]) -> list[str]:
    """A warning that names the attachments of a message that were not read."""
    if not names:
        return []
    listed = ", ".join(repr(clean(name)[:100]) for name in names[:20]) + (" …" if len(names) > 20 else "")
    return [f"Attachments that were not read: {listed}. Upload them on their own."]


def write_head(draft: Draft, subject: str, people: dict[str, str], level: int) -> None:
    """Write who wrote to whom, when and what about."""
    draft.add(" ".join(subject.split()) or "No subject", level=min(level, 6))
    lines = (f"{name}: {' '.join(value.split())}" for name, value in people.items() if value.strip())
    draft.add("\n".join(lines), lines=True)


def _write(draft: Draft, message: EmailMessage, level: int) -> Iterator[str]:
    """Write a message; yields the names of the attachments that were not read."""
    if _is_encrypted(message):
        raise UnreadableDocument(ENCRYPTED)
    write_head(draft, _header(message, "Subject"), {name: _header(message, name) for name in PEOPLE}, level)
    body = message.get_body(("plain", "html"))
    if body is None and not message.is_multipart() and message.get_content_maintype() == "text":
        body = message
    if body is not None:
        _write_part(draft, body)
    for part in _attachments(message):
        inner = part.get_payload(0) if part.get_content_type() == "message/rfc822" and part.is_multipart() else None
        name = part.get_filename() or part.get_content_type()
        if isinstance(inner, EmailMessage) and level < MOST_DEPTH:
            yield from _write(draft, inner, level + 1)
        elif part.get_content_type() in READ_ATTACHMENTS:
            draft.add(name, level=min(level + 1, 6))
            _write_part(draft, part)
        else:
            yield name


def _attachments(message: EmailMessage) -> list[EmailMessage]:
    try:
        parts: list[Any] = list(message.iter_attachments())
    except (KeyError, AttributeError, TypeError):
        return []  # a message that calls itself multipart and is not
    return [part for part in parts if isinstance(part, EmailMessage)]


def _write_part(draft: Draft, part: Any) -> None:
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes) or not payload.strip():
        return
    text = clean(decode(payload, part.get_content_charset()))
    if "-----BEGIN PGP MESSAGE-----" in text[:2000]:
        raise UnreadableDocument(ENCRYPTED)
    if part.get_content_subtype() == "html":
        write_html(draft, text, title="")
    else:
        write_plain(draft, text)


def _is_encrypted(message: EmailMessage) -> bool:
    kind = message.get_content_type()
    if kind == "multipart/encrypted":
        return True
    smime = kind in {"application/pkcs7-mime", "application/x-pkcs7-mime"}
    return smime and message.get_param("smime-type", "enveloped-data") == "enveloped-data"


def _header(message: EmailMessage, name: str) -> str:
    try:
        return str(message.get(name, ""))
    except (ValueError, IndexError, AttributeError, TypeError, LookupError):
        return ""  # what is not a date or an address is left out, and the message read all the same
