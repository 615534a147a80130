"""The context of a build: a tarball that a person uploaded, or the sample from this repository.

``checked`` is called when a build is asked for and again before an engine gets it: whatever it
returns holds plain files and folders only, all inside, small enough.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from django.conf import settings

from rollouts.errors import InvalidInput

MOST_BYTES = 20_000_000  # of the upload; it is kept in a row
MOST_UNPACKED = 100_000_000
MOST_ENTRIES = 5000
GZIP = b"\x1f\x8b"
SAMPLE = ("echo_services", "protos")
SAMPLE_DOCKERFILE = "echo_services/Dockerfile"
FIELD = "archive"


class _Limited(io.RawIOBase):
    """Gives what ``source`` has, and refuses once it is more than MOST_UNPACKED bytes.

    Header records of a tarball may claim any size; without this they would fill the memory.
    """

    def __init__(self, source: BinaryIO) -> None:
        self._source, self._left = source, MOST_UNPACKED

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        got = self._source.read(self._left + 1 if size < 0 else size)
        self._left -= len(got)
        if self._left < 0:
            raise InvalidInput(FIELD, f"Unpacked it is more than {MOST_UNPACKED // 10**6} MB.")
        return got


class _Tree:
    """What was seen so far. Links are never gone through, so that each can be judged alone."""

    def __init__(self) -> None:
        self.files: set[str] = set()
        self._folders: set[str] = {"."}
        self._links: set[str] = set()

    def add(self, entry: tarfile.TarInfo) -> None:
        """Raises InvalidInput when the entry would be written, or read, through a link."""
        above = {str(folder) for folder in PurePosixPath(entry.name).parents}
        if (above | {entry.name}) & self._links or (
            entry.issym() and entry.name in self.files | self._folders
        ):
            raise InvalidInput(FIELD, f"{_shown(entry.name)} is behind or under a link.")
        if entry.islnk() and entry.linkname not in self.files:
            raise InvalidInput(FIELD, f"{_shown(entry.name)} links to a file that is not there.")
        kept = self._links if entry.issym() else self._folders if entry.isdir() else self.files
        kept.add(entry.name)
        self._folders |= above


def checked(archive: bytes, dockerfile: str) -> bytes:
    """The same files as a tarball that is safe to hand on. Raises InvalidInput."""
    if len(archive) > MOST_BYTES:
        raise InvalidInput(FIELD, f"Upload at most {MOST_BYTES // 10**6} MB.")
    out = io.BytesIO()
    tree = _Tree()
    try:
        with tarfile.open(fileobj=out, mode="w") as copy:
            for member, content in _members(archive):
                tree.add(member)
                copy.addfile(member, content)
    except (tarfile.TarError, EOFError, OSError, zlib.error, ValueError) as error:
        raise InvalidInput(FIELD, "This is not a whole tarball (.tar or .tar.gz).") from error
    if dockerfile not in tree.files:
        raise InvalidInput("dockerfile", f"There is no {dockerfile} in the tarball.")
    return out.getvalue()


def _members(archive: bytes) -> Iterator[tuple[tarfile.TarInfo, BinaryIO | None]]:
    raw: BinaryIO = io.BytesIO(archive)
    if archive.startswith(GZIP):
        raw = gzip.GzipFile(fileobj=raw)  # type: ignore[assignment]
    with tarfile.open(fileobj=_Limited(raw), mode="r|") as given:
        for count, member in enumerate(given, 1):
            if count > MOST_ENTRIES:
                raise InvalidInput(FIELD, f"It has more than {MOST_ENTRIES:,} entries.")
            yield _plain(member), given.extractfile(member) if member.isreg() else None  # type: ignore[misc]


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """The entry without owner and odd modes; refuses what is not a file, folder or inner link."""
    made = tarfile.TarInfo(_inside(member.name, member.name))
    made.mode = 0o755 if member.isdir() or member.mode & 0o111 else 0o644
    made.mtime = int(member.mtime)
    if member.issparse() or member.size > MOST_UNPACKED:
        raise InvalidInput(FIELD, f"{_shown(member.name)} claims to be larger than it is here.")
    if member.isreg():
        made.size = member.size
    elif member.isdir():
        made.type = tarfile.DIRTYPE
    elif member.issym():
        made.type = tarfile.SYMTYPE
        made.linkname = _target(made.name, member.linkname)
    elif member.islnk():
        made.type = tarfile.LNKTYPE
        made.linkname = _inside(member.linkname, member.name)
    else:
        raise InvalidInput(FIELD, f"{_shown(member.name)} is a device or a pipe. Use files only.")
    return made


def _target(name: str, target: str) -> str:
    """Where a link may lead: inside. ".." comes first or not at all: after a name it would be
    taken where that name leads, which may be another link."""
    parts = PurePosixPath(target).parts
    named = [part for part in parts if part != ".."]
    if parts[len(parts) - len(named) :] != tuple(named):
        raise InvalidInput(FIELD, f"{_shown(name)} does not stay in the folder.")
    _inside(target if target.startswith("/") else str(PurePosixPath(name).parent / target), name)
    return target


def _inside(path: str, entry: str) -> str:
    """The path without "." and ".."; raises InvalidInput when it leaves the folder."""
    found: list[str] = []
    if path.startswith("/") or "\0" in path or "\\" in path:
        raise InvalidInput(FIELD, f"{_shown(entry)} does not stay in the folder.")
    for part in PurePosixPath(path).parts:
        if part == "..":
            if not found:
                raise InvalidInput(FIELD, f"{_shown(entry)} does not stay in the folder.")
            found.pop()
        else:
            found.append(part)
    return "/".join(found) or "."


def _shown(name: str) -> str:
    return name.encode("ascii", "replace").decode()[:80]


def sample() -> bytes:
    """The sample services of this repository, as a context: their code, contract and Dockerfile."""
    out = io.BytesIO()
    base = Path(settings.BASE_DIR)
    with tarfile.open(fileobj=out, mode="w") as made:
        for folder in SAMPLE:
            for path in sorted((base / folder).iterdir()):
                if path.suffix in (".py", ".pyi", ".txt", ".proto") or path.name == "Dockerfile":
                    entry = tarfile.TarInfo(f"{folder}/{path.name}")
                    entry.size, entry.mode = path.stat().st_size, 0o644
                    made.addfile(entry, io.BytesIO(path.read_bytes()))
    return out.getvalue()


def dockerfile_path(text: str) -> str:
    """A path inside the context, without "." and ".."; raises InvalidInput."""
    try:
        found = _inside(text, text)
    except InvalidInput as error:
        raise InvalidInput("dockerfile", str(error)) from error
    if not found.isprintable() or len(found) > 200:
        raise InvalidInput("dockerfile", "Use a path of at most 200 visible characters.")
    return found
