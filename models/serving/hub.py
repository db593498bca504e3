"""Model files from the model hub, over HTTP, resumed where they were interrupted."""

from __future__ import annotations

import os
from pathlib import Path

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from models.catalog import HubFile
from models.serving.progress import Report
from models.serving.source import SourceFailed

HUB = "https://huggingface.co"
TIMEOUT = httpx.Timeout(30.0, connect=3.0)
# A connection that breaks is worth another try; one that cannot be made means that there is no hub here.
INTERRUPTED = (httpx.ReadError, httpx.ReadTimeout, httpx.RemoteProtocolError)


def is_offline() -> bool:
    """Whether the environment says that the hub must not be asked."""
    return os.environ.get("HF_HUB_OFFLINE", "").strip().lower() in {"1", "true", "yes", "on"}


def address(source: HubFile) -> str:
    """Where the file is; ``HF_ENDPOINT`` names a mirror of the hub."""
    hub = os.environ.get("HF_ENDPOINT", "").rstrip("/") or HUB
    return f"{hub}/{source.repository}/resolve/{source.revision}/{source.file}"


def download(source: HubFile, part: Path, size: int, report: Report) -> None:
    """Fetch the file of ``size`` bytes into ``part``, going on behind the bytes that are there.

    Raises:
        SourceFailed: the hub is switched off, cannot be reached or does not have the file.
        OSError: ``part`` cannot be written.
    """
    if is_offline():
        raise SourceFailed("the hub is switched off by HF_HUB_OFFLINE")
    retrying = Retrying(
        retry=retry_if_exception_type(INTERRUPTED),
        stop=stop_after_attempt(5),
        wait=wait_exponential(multiplier=0.2, max=10),
        reraise=True,
    )
    try:
        with httpx.Client(follow_redirects=True, timeout=TIMEOUT) as client:
            retrying(_download_rest, client, address(source), part, size, report)
    except httpx.HTTPStatusError as error:
        raise SourceFailed(f"the hub answered {error.response.status_code}") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise SourceFailed(f"the hub cannot be reached ({type(error).__name__})") from error


def _download_rest(client: httpx.Client, url: str, part: Path, size: int, report: Report) -> None:
    done = part.stat().st_size if part.exists() else 0
    if done >= size:
        return
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
    with client.stream("GET", url, headers=headers) as response:
        response.raise_for_status()
        resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
            raise SourceFailed("the hub resumed the download at another place")
        done = done if resumed else 0
        with part.open("ab" if resumed else "wb") as file:
            # Without a block size: httpx would throw away an incomplete block when the connection breaks.
            for block in response.iter_raw():
                file.write(block)
                done += len(block)
                report(min(done, size))
                if done > size:
                    return  # no need for the rest of what the check will refuse
