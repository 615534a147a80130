"""App Mesh as its clients know it: puts documents in the place of moto's objects.

``install()`` is called by the server before it starts. Adds virtual services, the modelled errors,
and every refusal that the product must live with: names in use, weights out of range, a node that a
route still names. Documents live on moto's backend, so that moto's reset forgets them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from moto.appmesh import urls
from moto.appmesh.models import AppMeshBackend, appmesh_backends
from moto.appmesh.responses import AppMeshResponse

from tests.fakeaws.appmesh_documents import (
    MESH,
    NODE,
    PARENT,
    ROUTE,
    ROUTER,
    SERVICE,
    SORTS,
    Documents,
    Key,
    Sort,
)

ROOT = "{0}/v20190125"


def documents_of(backend: AppMeshBackend) -> Documents:
    """The documents of one of moto's backends."""
    found = backend.__dict__.get("meshui_documents")
    if found is None:
        found = Documents(backend.account_id, backend.region_name)
        backend.__dict__["meshui_documents"] = found
    assert isinstance(found, Documents)
    return found


@dataclass(frozen=True)
class RouterView:
    """A virtual router as moto's own objects look, for those who read moto's backend."""

    virtual_router_name: str
    routes: list[str]


@dataclass(frozen=True)
class MeshView:
    """A mesh and the names in it, as moto's own objects look."""

    mesh_name: str
    virtual_nodes: list[str]
    virtual_services: list[str]
    virtual_routers: dict[str, RouterView]


def _views(backend: AppMeshBackend) -> dict[str, MeshView]:
    documents = documents_of(backend)

    def names(sort: Sort, within: Key) -> list[str]:
        return [document.key[-1] for document in documents.inside(sort, within)]

    return {
        key[0]: MeshView(
            key[0],
            names(NODE, key),
            names(SERVICE, key),
            {r: RouterView(r, names(ROUTE, (*key, r))) for r in names(ROUTER, key)},
        )
        for key in documents.held[MESH]
    }


def existing() -> dict[str, list[str]]:
    """ARNs of all that exists, by sort (mesh, virtual_node …), in every account and region."""
    found: dict[str, list[str]] = {sort.word: [] for sort in SORTS}
    for regions in appmesh_backends.values():
        for backend in regions.values():
            for sort, documents in documents_of(backend).held.items():
                found[sort.word] += [document.arn for document in documents.values()]
    return found


class _Asked:
    """One request: names from the path, the rest from body and query."""

    def __init__(self, response: AppMeshResponse) -> None:
        self._response = response
        self.documents = documents_of(response.appmesh_backend)
        self.body = json.loads(response.body or "{}") if response.body else {}

    def get(self, name: str) -> Any:
        """A member of the request, None if it is not there."""
        if name in self.body:
            return self.body[name]
        query = self._response.querystring.get(name)
        if query:
            return query[0]
        value = (self._response.uri_match or {}).get(name)
        return unquote(value) if isinstance(value, str) else value

    def key(self, sort: Sort) -> Key:
        """The names of the document that is asked for."""
        return tuple(str(self.get(name)) for name in sort.names)

    def tags(self) -> dict[str, str]:
        """The tags of the request."""
        return {tag["key"]: tag.get("value", "") for tag in self.body.get("tags") or []}

    def page(self, rows: list[dict[str, Any]], listed: str) -> dict[str, Any]:
        """Up to ``limit`` rows (at most 100) after the token."""
        limit, start = int(self.get("limit") or 100), int(self.get("nextToken") or 0)
        found: dict[str, Any] = {listed: rows[start : start + limit]}
        if start + limit < len(rows):
            found["nextToken"] = str(start + limit)
        return found


def _verbs(sort: Sort) -> dict[str, Callable[[_Asked], dict[str, Any]]]:
    def create(asked: _Asked) -> dict[str, Any]:
        spec, token = asked.get("spec") or {}, asked.get("clientToken")
        made = asked.documents.create(sort, asked.key(sort), spec, asked.tags(), token)
        return made.answer()

    def describe(asked: _Asked) -> dict[str, Any]:
        return asked.documents.get(sort, asked.key(sort), asked.get("meshOwner")).answer()

    def update(asked: _Asked) -> dict[str, Any]:
        spec, token = asked.get("spec") or {}, asked.get("clientToken")
        return asked.documents.update(sort, asked.key(sort), spec, token).answer()

    def delete(asked: _Asked) -> dict[str, Any]:
        return asked.documents.delete(sort, asked.key(sort)).answer()

    def listing(asked: _Asked) -> dict[str, Any]:
        within = tuple(str(asked.get(name)) for name in sort.parents)
        if sort in PARENT:
            asked.documents.get(PARENT[sort], within, asked.get("meshOwner"))
        rows = [document.reference() for document in asked.documents.inside(sort, within)]
        return asked.page(rows, sort.listed)

    plural = f"{sort.word}es" if sort is MESH else f"{sort.word}s"
    return {
        f"create_{sort.word}": create,
        f"describe_{sort.word}": describe,
        f"update_{sort.word}": update,
        f"delete_{sort.word}": delete,
        f"list_{plural}": listing,
    }


def _tag(asked: _Asked) -> dict[str, Any]:
    asked.documents.by_arn(asked.get("resourceArn")).tags.update(asked.tags())
    return {}


def _untag(asked: _Asked) -> dict[str, Any]:
    tags = asked.documents.by_arn(asked.get("resourceArn")).tags
    for key in asked.body.get("tagKeys", []):
        tags.pop(key, None)
    return {}


def _list_tags(asked: _Asked) -> dict[str, Any]:
    tags = asked.documents.by_arn(asked.get("resourceArn")).tags
    return asked.page([{"key": key, "value": value} for key, value in tags.items()], "tags")


def _method(verb: Callable[[_Asked], dict[str, Any]]) -> Callable[[AppMeshResponse], str]:
    def method(response: AppMeshResponse) -> str:
        return json.dumps(verb(_Asked(response)))

    return method


def install() -> None:
    """Replace moto's App Mesh, gateways excepted. Harmless when repeated."""
    within = f"{ROOT}/meshes/(?P<meshName>[^/]+)/virtualServices"
    for path in (f"{within}$", f"{within}/(?P<virtualServiceName>[^/]+)$", f"{ROOT}/untag$"):
        urls.url_paths[path] = AppMeshResponse.dispatch
    AppMeshBackend.meshes = property(_views, lambda self, value: None)  # type: ignore[assignment]
    verbs = {name: verb for sort in SORTS for name, verb in _verbs(sort).items()}
    verbs |= {"tag_resource": _tag, "untag_resource": _untag, "list_tags_for_resource": _list_tags}
    for name, verb in verbs.items():
        setattr(AppMeshResponse, name, _method(verb))
