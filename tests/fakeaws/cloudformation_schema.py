"""What the API and the resource schemas say about properties: spelling, types, what never changes.

Called by the client and by change sets. CloudFormation writes ``GrpcRoute.Match.ServiceName`` with
text for every number; the API wants ``grpcRoute.match.serviceName`` and integers.
"""

from __future__ import annotations

import functools
import importlib.util
import json
from pathlib import Path
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape


class UnknownProperty(ValueError):
    """A property that the API does not have."""


def to_api(value: Any, shape: Shape | None) -> Any:
    """The value in the API's spelling and types. Raises UnknownProperty."""
    if isinstance(shape, StructureShape) and isinstance(value, dict):
        return _structure(value, shape)
    if isinstance(shape, ListShape) and isinstance(value, list):
        return [to_api(item, shape.member) for item in value]
    if isinstance(shape, MapShape) and isinstance(value, dict):
        return {str(key): to_api(item, shape.value) for key, item in value.items()}
    return _scalar(value, shape)


def _structure(value: dict[str, Any], shape: StructureShape) -> dict[str, Any]:
    if getattr(shape, "is_document_type", False):
        return value
    members = {name.lower(): name for name in shape.members}
    unknown = [name for name in value if name.lower() not in members]
    if unknown:
        raise UnknownProperty(f"Encountered unsupported property {unknown[0]}")
    return {
        members[name.lower()]: to_api(item, shape.members[members[name.lower()]])
        for name, item in value.items()
    }


def _scalar(value: Any, shape: Shape | None) -> Any:
    kind = shape.type_name if shape is not None else ""
    if kind in ("integer", "long"):
        return int(value)
    if kind in ("float", "double"):
        return float(value)
    if kind == "boolean":
        return str(value).lower() == "true"
    if kind == "string" and isinstance(value, dict | list):
        return json.dumps(value)
    if kind == "string" and isinstance(value, bool):
        return str(value).lower()
    return str(value) if kind == "string" else value


@functools.lru_cache(maxsize=512)
def _schema(kind: str) -> dict[str, Any]:
    """The resource schema that cfn-lint ships; empty for a kind that it does not know."""
    spec = importlib.util.find_spec("cfnlint")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "data" / "schemas"
    names = _names(folder / "providers" / "us-east-1.json")
    if kind not in names:
        return {}
    loaded: dict[str, Any] = json.loads((folder / "resources" / f"{names[kind]}.json").read_text())
    return loaded


@functools.lru_cache(maxsize=1)
def _names(path: Path) -> dict[str, str]:
    loaded: dict[str, str] = json.loads(path.read_text())
    return loaded


def known(kind: str) -> bool:
    """True for a kind of resource that AWS has."""
    return bool(_schema(kind))


@functools.lru_cache(maxsize=512)
def fixed_properties(kind: str) -> frozenset[str]:
    """The top-level properties whose change makes a new resource."""
    paths = _schema(kind).get("createOnlyProperties", [])
    return frozenset(parts[2] for path in paths if len(parts := str(path).split("/")) == 3)


def property_names(kind: str) -> frozenset[str]:
    """Every top-level property that a template may give."""
    schema = _schema(kind)
    read_only = {
        str(path).removeprefix("/properties/") for path in schema.get("readOnlyProperties", [])
    }
    return frozenset(schema.get("properties", {})) - read_only


def has_attribute(kind: str, name: str) -> bool:
    """Whether ``GetAtt`` may ask for it; a dotted name is looked up by its first part."""
    return name.split(".")[0] in _schema(kind).get("properties", {})


def wrong_properties(kind: str, given: Any) -> str | None:
    """What is wrong with the properties' names, as CloudFormation says it; None if nothing."""
    extra = sorted(set(given) - property_names(kind))
    if extra:
        return f"extraneous key [{extra[0]}] is not permitted"
    missing = sorted(set(_schema(kind).get("required", [])) - set(given))
    return f"required key [{missing[0]}] not found" if missing else None
