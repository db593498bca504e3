from __future__ import annotations

from email.message import EmailMessage
from pathlib import Path

import pytest

from core.domain import LoadedDocument
from core.errors import UnreadableDocument
from ingest.formats.mail import load_eml


def read(folder: Path, data: bytes) -> LoadedDocument:
    path = folder / "letter.eml"
    path.write_bytes(data)
    return load_eml(path)


def letter(subject: str = "Ferries to Tornby – größer") -> EmailMessage:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = subject, "Änne <a@example.org>", "b@example.org"
    message.set_content("They leave at 9:30.\n\nAnd at noon.")
    return message


def test_a_message_is_its_head_and_its_best_body(tmp_path: Path) -> None:
    message = letter()
    message.add_alternative("<p>in <b>HTML</b></p>", subtype="html")
    loaded = read(tmp_path, message.as_bytes())
    assert loaded.text == (
        "Ferries to Tornby – größer\n\nFrom: Änne <a@example.org>\nTo: b@example.org\n\n"
        "They leave at 9:30.\n\nAnd at noon."
    )
    assert loaded.blocks[0].level == 1


def test_a_message_that_has_only_html_is_read_without_markup(tmp_path: Path) -> None:
    message = letter()
    message.set_content("<h2>Times</h2><p>At 9:30</p><img src='http://127.0.0.1:9/x.png'>", subtype="html")
    assert read(tmp_path, message.as_bytes()).text.endswith("Times\n\nAt 9:30")


def test_text_attachments_and_forwarded_messages_are_read_and_others_named(tmp_path: Path) -> None:
    message = letter()
    message.add_attachment("name,crew\nAnna,7", subtype="csv", filename="ships.csv")
    message.add_attachment(letter("Older"))
    message.add_attachment(b"%PDF-1.7", maintype="application", subtype="pdf", filename="../map.pdf")
    loaded = read(tmp_path, message.as_bytes())
    assert "ships.csv\n\nname,crew\nAnna,7\n\nOlder\n\nFrom: Änne" in loaded.text
    assert list(loaded.warnings) == ["Attachments that were not read: '../map.pdf'. Upload them on their own."]


@pytest.mark.parametrize(
    "data",
    [
        b"Subject: x\nContent-Type: multipart/encrypted; boundary=b\n\n--b\n\nx\n--b--\n",
        b"Subject: x\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data\n\nMIAG\n",
        b"Subject: x\n\n-----BEGIN PGP MESSAGE-----\nhIwD\n-----END PGP MESSAGE-----\n",
    ],
)
def test_an_encrypted_message_says_so(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(UnreadableDocument, match="encrypted"):
        read(tmp_path, data)


def test_a_charset_that_nobody_knows_does_not_stop_a_message(tmp_path: Path) -> None:
    data = b"Subject: =?nonsense?Q?x?=\nDate: never\nContent-Type: text/plain; charset=nonsense\n\nGr\xf6\xdfe\n"
    assert "Größe" in read(tmp_path, data).text


def test_what_has_no_headers_is_no_message(tmp_path: Path) -> None:
    with pytest.raises(UnreadableDocument, match="no headers"):
        read(tmp_path, b"\n\nhello")
