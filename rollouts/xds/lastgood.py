"""The last snapshot that a proxy accepted, on disk, for a proxy that starts with nobody to ask.

Written by the control plane, read by ``launch`` and by the next control plane. One file per mesh,
replaced whole: a reader sees the old one or the new one, never half of either.
"""

import base64
import json
import os
import tempfile
from pathlib import Path
from urllib.parse import quote, unquote

from rollouts.errors import InvalidInput
from rollouts.xds.snapshot import Snapshot, content_version

SUFFIX = ".lastgood.json"


def path_of(directory: Path, mesh: str) -> Path:
    """Where the file of a mesh is. A mesh may be called anything; a file name may not."""
    return directory / (quote(mesh, safe="") + SUFFIX)


def save(directory: Path, mesh: str, snapshot: Snapshot) -> None:
    """Replace the file of the mesh. Durable when it returns. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=directory, prefix=".lastgood-")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(dumps(snapshot))
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path_of(directory, mesh))
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def load(directory: Path, mesh: str) -> Snapshot | None:
    """Read the file of the mesh; None when there is none or it is not whole."""
    try:
        return loads(path_of(directory, mesh).read_text())
    except (FileNotFoundError, InvalidInput):
        return None


def load_all(directory: Path) -> dict[str, Snapshot]:
    """Every mesh that has a file, by name."""
    found = {
        mesh: load(directory, mesh)
        for path in directory.glob("*" + SUFFIX)
        if (mesh := unquote(path.name.removesuffix(SUFFIX)))
    }
    return {mesh: snapshot for mesh, snapshot in found.items() if snapshot is not None}


def dumps(snapshot: Snapshot) -> str:
    """JSON text with base64 resources, and a checksum against a torn or edited file."""
    resources = {
        kind: {name: base64.b64encode(body).decode() for name, body in sorted(named.items())}
        for kind, named in snapshot.resources.items()
    }
    return json.dumps(
        {
            "format": 1,
            "versions": dict(snapshot.versions),
            "generations": dict(snapshot.generations),
            "references": sorted(snapshot.references),
            "resources": resources,
        }
    )


def loads(text: str) -> Snapshot:
    """Raises InvalidInput when the text is not what ``dumps`` wrote."""
    try:
        kept = json.loads(text)
        resources = {
            kind: {name: base64.b64decode(body) for name, body in named.items()}
            for kind, named in kept["resources"].items()
        }
        versions = {kind: content_version(named) for kind, named in resources.items()}
        if versions != kept["versions"]:
            raise ValueError("checksum")
        return Snapshot(resources, kept["generations"], frozenset(kept["references"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput("lastgood", "The last-known-good file is not whole.") from error
