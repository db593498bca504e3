from __future__ import annotations

import gzip
import io

import pytest

from core.errors import InvalidInput
from ingest.sources.sitemap import UNPACKED, read_sitemap

NAMESPACE = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'
SITEMAP = f"""<?xml version="1.0" encoding="UTF-8"?>
<urlset {NAMESPACE} xmlns:image="http://www.google.com/schemas/sitemap-image/1.1">
  <url><loc> https://example.org/a?x=1&amp;y=2 </loc><lastmod>2030-01-01</lastmod>
    <image:image><image:loc>https://example.org/a.png</image:loc></image:image></url>
  <url><loc>https://example.org/b#part</loc></url>
  <url><loc>javascript:alert(1)</loc></url>
  <url><lastmod>2030-01-01</lastmod></url>
</urlset>"""
INDEX = f"<sitemapindex {NAMESPACE}><sitemap><loc>https://example.org/1.xml.gz</loc></sitemap></sitemapindex>"


def read(content: bytes) -> list[tuple[str, str]]:
    return [(kind, str(url)) for kind, url in read_sitemap(io.BytesIO(content), "https://example.org/sitemap.xml")]


def test_the_pages_of_a_sitemap_are_its_addresses() -> None:
    pages = [("url", "https://example.org/a?x=1&y=2"), ("url", "https://example.org/b")]
    assert read(SITEMAP.encode()) == pages
    assert read(gzip.compress(SITEMAP.encode())) == pages
    assert read(SITEMAP.replace("UTF-8", "UTF-16").encode("utf-16")) == pages


def test_an_index_lists_sitemaps() -> None:
    assert read(INDEX.encode()) == [("sitemap", "https://example.org/1.xml.gz")]


LAUGHS = "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(9))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html><body>404</body>",
        b"not xml",
        gzip.compress(SITEMAP.encode())[:-20],
        b"\x1f\x8bnot gzip",
        f'<!DOCTYPE x [<!ENTITY l0 "ha">{LAUGHS}]><urlset><url><loc>&l9;</loc></url></urlset>'.encode(),
        b'<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]><urlset><url><loc>&f;</loc></url></urlset>',
        b'<!DOCTYPE urlset SYSTEM "http://127.0.0.1/x.dtd"><urlset/>',
        b'<?xml version="1.0" encoding="no-such"?><urlset/>',
    ],
)
def test_what_is_no_sitemap_or_an_attack_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidInput, match="is no sitemap that can be read"):
        read(content)


def test_a_sitemap_that_unpacks_to_too_much_is_refused() -> None:
    bomb = gzip.compress(b"<urlset>" + b" " * (UNPACKED + 1) + b"</urlset>")
    assert len(bomb) < 1 << 20
    with pytest.raises(InvalidInput, match="OSError"):
        read(bomb)
