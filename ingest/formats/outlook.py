"""MSG: an Outlook message like any other, its attachments named."""

from __future__ import annotations

from email.errors import HeaderParseError
from email.header import decode_header, make_header
from pathlib import Path
from typing import Any

from core.domain import LoadedDocument
from core.errors import UnreadableDocument
from ingest.draft import Draft
from ingest.encoding import clean
from ingest.formats.damage import AGAIN
from ingest.formats.mail import ENCRYPTED, named_attachments, write_head
from ingest.formats.plain import write_plain
from ingest.formats.web import write_html

MOST_ATTACHMENTS = 1000


def load_msg(path: Path) -> LoadedDocument:
    """Read a message that Outlook saved; the names of its attachments are in the warnings.

    Raises:
        UnreadableDocument: it is damaged, encrypted, or holds no text.
    """
    from oxmsg import Message

    if not path.exists():
        raise FileNotFoundError(path)
    try:
        message: Any = Message.load(str(path))
        kind = message.message_class
        subject, html, body = message.subject, message.html_body, message.body
        people = _people(message)
        attachments = [attachment.file_name or "unnamed" for attachment in message.attachments[:MOST_ATTACHMENTS]]
    except Exception as error:  # a damaged file makes the library raise anything
        raise UnreadableDocument(f"The MSG file is damaged. {AGAIN}") from error
    if "SMIME" in kind.upper() and "MULTIPARTSIGNED" not in kind.upper():
        raise UnreadableDocument(ENCRYPTED)
    draft = Draft()
    write_head(draft, subject or "", people, 1)
    if body and body.strip():
        write_plain(draft, clean(body))
    elif html:
        write_html(draft, clean(html), title="")
    return draft.finish(named_attachments(attachments))


def _people(message: Any) -> dict[str, str]:
    headers = {name.lower(): value for name, value in message.message_headers.items()}
    recipients = ", ".join(f"{one.name or ''} <{one.email_address}>".strip() for one in message.recipients)
    sent = message.sent_date
    return {
        "From": _decoded(message.sender or ""),
        "To": _decoded(headers.get("to") or recipients),
        "Cc": _decoded(headers.get("cc", "")),
        "Date": headers.get("date") or ("" if sent is None else sent.isoformat(" ")),
    }


def _decoded(header: str) -> str:
    """A header whose letters were packed into ASCII, as a reader sees it."""
    try:
        return str(make_header(decode_header(header)))
    except (HeaderParseError, LookupError, ValueError):
        return header
