"""What an uploaded context may hold, and what is refused before an engine sees it."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from rollouts.builders import context
from rollouts.errors import InvalidInput


def entry(name, kind=tarfile.REGTYPE, content=b"", target=""):
    made = tarfile.TarInfo(name)
    made.type, made.size, made.linkname = kind, len(content), target
    return made, content


def tarball(*entries, mode="w:gz"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as made:
        for member, content in entries:
            made.addfile(member, io.BytesIO(content))
    return out.getvalue()


RECIPE = entry("Dockerfile", content=b"FROM scratch\n")


def link(name, target, kind=tarfile.SYMTYPE):
    return entry(name, kind, target=target)


def names(archive):
    with tarfile.open(fileobj=io.BytesIO(archive)) as made:
        return {member.name: member for member in made}


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_plain_and_a_gzipped_tarball_are_taken(mode):
    given = tarball(RECIPE, entry("./src/main.py", content=b"print()"), mode=mode)
    assert set(names(context.checked(given, "Dockerfile"))) == {"Dockerfile", "src/main.py"}


def test_owners_and_odd_modes_do_not_go_on():
    member, content = entry("run.sh", content=b"#!")
    member.mode, member.uid, member.uname = 0o4777, 1234, "somebody"
    kept = names(context.checked(tarball(RECIPE, (member, content)), "Dockerfile"))["run.sh"]
    assert (oct(kept.mode), kept.uid, kept.uname) == ("0o755", 0, "")


@pytest.mark.parametrize(
    "bad",
    [
        [entry("/etc/passwd")],
        [entry("../outside")],
        [entry("a/../../outside")],
        [entry("a\\b")],
        [link("a", "/etc")],
        [link("a", "../outside")],
        [link("a/b", "../../outside")],
        [link("a/up", ".."), link("b", "a/up/..")],
        [link("a", "b/../../..")],
        [link("a", "b"), entry("a/file")],
        [link("a", "b"), entry("a")],
        [entry("a/file"), link("a", "b")],
        [link("a", "nowhere", tarfile.LNKTYPE)],
        [link("a", "../outside", tarfile.LNKTYPE)],
        [link("a", "b"), link("c", "a", tarfile.LNKTYPE)],
        [entry("dev", tarfile.CHRTYPE)],
        [entry("dev", tarfile.BLKTYPE)],
        [entry("pipe", tarfile.FIFOTYPE)],
    ],
)
def test_what_would_leave_the_folder_or_is_no_file_is_refused(bad):
    with pytest.raises(InvalidInput) as refused:
        context.checked(tarball(RECIPE, *bad), "Dockerfile")
    assert refused.value.field == "archive"


@pytest.mark.parametrize(
    "good",
    [
        [entry("dir", tarfile.DIRTYPE), link("dir/up", "../Dockerfile")],
        [link("current", "Dockerfile")],
        [link("copy", "Dockerfile", tarfile.LNKTYPE)],
    ],
)
def test_a_link_that_stays_inside_is_kept(good):
    kept = names(context.checked(tarball(RECIPE, *good), "Dockerfile"))
    assert kept[good[-1][0].name].linkname in ("../Dockerfile", "Dockerfile")


@pytest.mark.parametrize(
    "broken", [b"", b"no tarball", tarball(RECIPE)[:40], b"\x1f\x8b" + b"\0" * 50]
)
def test_what_is_no_tarball_is_refused_in_a_sentence(broken):
    with pytest.raises(InvalidInput, match=r"whole tarball|no Dockerfile"):
        context.checked(broken, "Dockerfile")


def test_the_dockerfile_has_to_be_in_it():
    with pytest.raises(InvalidInput) as refused:
        context.checked(tarball(RECIPE), "deploy/Dockerfile")
    assert refused.value.field == "dockerfile"


def test_too_many_entries_are_refused():
    many = [entry(f"{n}") for n in range(context.MOST_ENTRIES)]
    with pytest.raises(InvalidInput, match="5,000 entries"):
        context.checked(tarball(RECIPE, *many), "Dockerfile")


def test_a_header_that_claims_a_gigabyte_does_not_fill_the_memory():
    pax = tarfile.TarInfo("pax")
    pax.type, pax.size = tarfile.XHDTYPE, 10**9
    bomb = gzip.compress(pax.tobuf() + b"0" * (context.MOST_UNPACKED + 10**6), 1)
    assert len(bomb) < context.MOST_BYTES
    with pytest.raises(InvalidInput, match="Unpacked"):
        context.checked(bomb, "Dockerfile")


def test_a_sparse_file_that_claims_a_terabyte_is_refused():
    member, _ = entry("sparse", tarfile.GNUTYPE_SPARSE)
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[386:398], header[398:410] = b"%011o\0" % 0, b"%011o\0" % 0
    header[483:495] = b"%011o\0" % (8**11 - 1)  # the real size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    with pytest.raises(InvalidInput, match="claims"):
        context.checked(bytes(header) + tarball(RECIPE, mode="w"), "Dockerfile")


def test_a_large_upload_is_refused_before_it_is_read():
    with pytest.raises(InvalidInput, match="at most 20 MB"):
        context.checked(b"\0" * (context.MOST_BYTES + 1), "Dockerfile")


def test_the_sample_is_a_context_that_passes_the_same_check():
    kept = names(context.checked(context.sample(), context.SAMPLE_DOCKERFILE))
    assert {"echo_services/server.py", "protos/echo_pb2.py"} <= set(kept)


def test_the_packages_of_the_sample_are_those_that_are_locked(settings):
    root = Path(settings.BASE_DIR)
    locked = (root / "requirements/base.txt").read_text().replace(" \\\n", "\n")
    lines = (root / "echo_services/requirements.txt").read_text().replace(" \\\n", "\n")
    for line in lines.splitlines()[1:]:
        assert f"{line}\n" in locked


@pytest.mark.parametrize("path", ["../Dockerfile", "/Dockerfile", "a/../../b", "a\\b", "x" * 201])
def test_a_dockerfile_outside_the_context_is_refused(path):
    with pytest.raises(InvalidInput) as refused:
        context.dockerfile_path(path)
    assert refused.value.field == "dockerfile"
