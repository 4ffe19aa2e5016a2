"""Large files from the network: checked, and taken up again where they broke off."""

import hashlib
import http.client
import math
import os
import ssl
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

from mae.train import progress

CHUNK = 1 << 20
NETWORK = (ConnectionError, TimeoutError, ssl.SSLError, http.client.HTTPException, urllib.error.URLError)


def download(url: str, path: Path, md5: str | None = None, timeout: float = 30) -> None:
    """Fetch a file, going on where an earlier attempt broke off; it appears under its name when it is complete.

    Parameters
    ----------
    url : str
    path : Path
        Until it is complete, what there is stands beside it, under a name ending in .partial.
    md5 : str, optional
        The first digits of its MD5 sum. Without it, length and, in a zip archive, its own checksums are compared.
    timeout : float
        Seconds without an answer.

    Raises
    ------
    ConnectionError
        If there is no network, or it breaks off.
    ValueError
        If the file is not the expected one; it is deleted.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    have = partial.stat().st_size if partial.exists() else 0
    try:
        if os.environ.get("MAE_OFFLINE"):
            raise ConnectionError("MAE_OFFLINE is set")
        _fetch(url, partial, have, timeout)
    except NETWORK as error:
        kept = partial.stat().st_size if partial.exists() else 0
        raise ConnectionError(
            f"could not download {url} ({error}). With a network, call again"
            f"{f': it goes on after the {kept:,} bytes that are kept' if kept else ''}. Or fetch the file by hand "
            f"on any computer, and put it at {path}"
        ) from error
    fault = _fault(partial, md5)
    if fault:
        partial.unlink()
        raise ValueError(f"what came from {url} is not the expected file ({fault}) and was deleted: try once more")
    os.replace(partial, path)


def _fetch(url: str, partial: Path, have: int, timeout: float) -> None:
    headers = {"Range": f"bytes={have}-"} if have else {}
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        if error.headers.get("Content-Range") == f"bytes */{have}":  # it was complete
            return
        partial.unlink()  # more than there is
        return _fetch(url, partial, 0, timeout)
    with response:
        if response.status != 206:  # the server sends the file from its start
            have = 0
        length = response.headers.get("Content-Length")
        chunks = iter(lambda: response.read(CHUNK), b"")
        total = math.ceil(int(length) / CHUNK) if length else None
        with open(partial, "ab" if have else "wb") as file:
            for chunk in progress(chunks, total=total, desc=partial.stem, unit="MiB"):
                file.write(chunk)
    if length and partial.stat().st_size != have + int(length):
        raise ConnectionError(f"it broke off after {partial.stat().st_size:,} of {have + int(length):,} bytes")


def md5_sum(path: Path) -> str:
    """The MD5 sum of a file, in hexadecimal digits.

    Parameters
    ----------
    path : Path
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _fault(path: Path, md5: str | None) -> str:
    if md5:
        return "" if (sum := md5_sum(path)).startswith(md5) else f"its MD5 sum is {sum}, expected {md5}…"
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except zipfile.BadZipFile:
        with open(path, "rb") as file:  # PyTorch's older format is a pickle, and has no checksums
            return "" if file.read(1) == b"\x80" else "it is not a file of PyTorch's"
    return f"{damaged} is damaged" if damaged else ""
