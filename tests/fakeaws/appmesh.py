"""App Mesh as its clients know it: puts documents in the place of moto's objects.

``install()`` is called by the server before it starts. Adds virtual services, the modelled errors,
and every refusal that the product must live with: names in use, weights out of range, a node that a
route still names. Documents live on moto's backend, so that moto's reset forgets them.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from moto.appmesh import urls
from moto.appmesh.models import AppMeshBackend, appmesh_backends
from moto.appmesh.responses import AppMeshResponse
from moto.core.exceptions import ServiceException

ROOT = "{0}/v20190125"
NODES_A_MESH = 200  # App Mesh's default quotas
ROUTES_A_ROUTER = 50
TARGETS_A_ROUTE = 10
WEIGHT = range(101)
ROUTE_KINDS = ("grpcRoute", "httpRoute", "http2Route", "tcpRoute")


@dataclass(frozen=True)
class Sort:
    """One of the five sorts of document: its words in calls, paths and ARNs."""

    word: str  # as in create_<word>
    name: str  # the member that holds its name
    key: str  # the part of its ARN
    listed: str  # the member of a list's answer
    parents: tuple[str, ...]  # the members that hold the names of what it lives in

    @property
    def names(self) -> tuple[str, ...]:
        """The members that together name a document, outermost first."""
        return (*self.parents, self.name)


MESH = Sort("mesh", "meshName", "mesh", "meshes", ())
NODE = Sort("virtual_node", "virtualNodeName", "virtualNode", "virtualNodes", ("meshName",))
ROUTER = Sort(
    "virtual_router", "virtualRouterName", "virtualRouter", "virtualRouters", ("meshName",)
)
ROUTE = Sort("route", "routeName", "route", "routes", ("meshName", "virtualRouterName"))
SERVICE = Sort(
    "virtual_service", "virtualServiceName", "virtualService", "virtualServices", ("meshName",)
)
SORTS = (MESH, NODE, ROUTER, ROUTE, SERVICE)
PARENT = {ROUTE: ROUTER, NODE: MESH, ROUTER: MESH, SERVICE: MESH}
Key = tuple[str, ...]


class _MeshError(ServiceException):
    """One of the errors of App Mesh's model, by its name there."""


def _missing(sort: Sort, key: Key) -> _MeshError:
    words = sort.word.replace("_", " ")
    return _MeshError("NotFoundException", f"There is no {words} with name {'/'.join(key)}.")


def _bad(sentence: str) -> _MeshError:
    return _MeshError("BadRequestException", sentence)


@dataclass
class Document:
    """A thing of App Mesh: names, spec, tags, and how often it was written."""

    sort: Sort
    key: Key
    arn: str
    owner: str
    spec: dict[str, Any]
    tags: dict[str, str]
    uid: str = field(default_factory=lambda: str(uuid.uuid4()))
    version: int = 1
    created: float = field(default_factory=time.time)
    updated: float = field(default_factory=time.time)
    status: str = "ACTIVE"

    def _stamps(self) -> dict[str, Any]:
        return {
            "arn": self.arn,
            "createdAt": self.created,
            "lastUpdatedAt": self.updated,
            "meshOwner": self.owner,
            "resourceOwner": self.owner,
            "version": self.version,
        }

    @property
    def named(self) -> dict[str, str]:
        """Its names by member."""
        return dict(zip(self.sort.names, self.key, strict=True))

    def answer(self) -> dict[str, Any]:
        """As create, describe, update and delete give it."""
        return {
            **self.named,
            "metadata": {**self._stamps(), "uid": self.uid},
            "spec": self.spec,
            "status": {"status": self.status},
        }

    def reference(self) -> dict[str, Any]:
        """As lists give it."""
        return {**self.named, **self._stamps()}


class Documents:
    """Everything that App Mesh holds for one account and region."""

    def __init__(self, account: str, region: str) -> None:
        self.account = account
        self.region = region
        self.held: dict[Sort, dict[Key, Document]] = {sort: {} for sort in SORTS}
        self._tokens: dict[str, tuple[str, Document]] = {}

    def get(self, sort: Sort, key: Key, owner: str | None = None) -> Document:
        """A document. Raises NotFoundException."""
        if owner not in (None, "", self.account) or key not in self.held[sort]:
            raise _missing(sort, key)
        return self.held[sort][key]

    def inside(self, sort: Sort, within: Key) -> list[Document]:
        """The documents of a sort that live in a mesh or router."""
        found = self.held[sort].items()
        return [document for key, document in found if key[: len(within)] == within]

    def _repeated(self, token: str | None, wish: str) -> Document | None:
        """What this token wrote before. Raises ConflictException if it wished something else."""
        if token is None or token not in self._tokens:
            return None
        said, document = self._tokens[token]
        if said != wish:
            raise _MeshError(
                "ConflictException", "The client token was used with another request before."
            )
        return document

    def create(
        self, sort: Sort, key: Key, spec: dict[str, Any], tags: dict[str, str], token: str | None
    ) -> Document:
        """Make a document; the same with the same token again."""
        wish = json.dumps(["create", sort.word, key, spec], sort_keys=True)
        repeated = self._repeated(token, wish)
        if repeated is not None:
            return repeated
        if sort in PARENT:
            self.get(PARENT[sort], key[:-1])
        if key in self.held[sort]:
            words = sort.word.replace("_", " ")
            raise _MeshError(
                "ConflictException", f"There is a {words} with name {'/'.join(key)} already."
            )
        self._check(sort, key, spec)
        self._check_quota(sort, key)
        document = Document(sort, key, self._arn(sort, key), self.account, spec, tags)
        self.held[sort][key] = document
        self._remember(token, wish, document)
        return document

    def update(self, sort: Sort, key: Key, spec: dict[str, Any], token: str | None) -> Document:
        """Replace a document's whole spec. Its version grows by one."""
        document = self.get(sort, key)
        wish = json.dumps(["update", sort.word, key, spec], sort_keys=True)
        if self._repeated(token, wish) is not None:
            return document
        self._check(sort, key, spec)
        document.spec = spec
        document.version += 1
        document.updated = max(time.time(), document.updated + 0.001)
        self._remember(token, wish, document)
        return document

    def delete(self, sort: Sort, key: Key) -> Document:
        """Remove a document. Raises ResourceInUseException while something names it."""
        document = self.get(sort, key)
        user = self._user_of(sort, key)
        if user is not None:
            words = sort.word.replace("_", " ").capitalize()
            raise _MeshError(
                "ResourceInUseException",
                f"{words} with name {key[-1]} cannot be deleted because it is used by {user.arn}.",
            )
        del self.held[sort][key]
        document.status = "DELETED"
        return document

    def _remember(self, token: str | None, wish: str, document: Document) -> None:
        if token is not None:
            self._tokens[token] = (wish, document)

    def _arn(self, sort: Sort, key: Key) -> str:
        start = f"arn:aws:appmesh:{self.region}:{self.account}:mesh/{key[0]}"
        if sort is MESH:
            return start
        if sort is ROUTE:
            return f"{start}/virtualRouter/{key[1]}/route/{key[2]}"
        return f"{start}/{sort.key}/{key[1]}"

    def _user_of(self, sort: Sort, key: Key) -> Document | None:
        """A document that needs this one to exist."""
        if sort is MESH:
            return next((d for s in SORTS[1:] for d in self.inside(s, key)), None)
        users: list[Document] = []
        if sort is NODE:
            users += [r for r in self.inside(ROUTE, key[:1]) if key[1] in _targets(r.spec)]
            users += [
                s for s in self.inside(SERVICE, key[:1]) if _provider(s.spec) == (NODE, key[1])
            ]
        if sort is ROUTER:
            users += self.inside(ROUTE, key)
            users += [
                s for s in self.inside(SERVICE, key[:1]) if _provider(s.spec) == (ROUTER, key[1])
            ]
        return users[0] if users else None

    def _check_quota(self, sort: Sort, key: Key) -> None:
        many = {NODE: NODES_A_MESH, ROUTE: ROUTES_A_ROUTER}.get(sort)
        if many is not None and len(self.inside(sort, key[:-1])) >= many:
            raise _MeshError(
                "LimitExceededException", f"You have reached the limit of {many} {sort.listed}."
            )

    def _check(self, sort: Sort, key: Key, spec: dict[str, Any]) -> None:
        if sort is ROUTE:
            _check_route(spec)
            for target in _targets(spec):
                self.get(NODE, (key[0], target))
        if sort is SERVICE:
            provider = _provider(spec)
            if provider is not None:
                self.get(provider[0], (key[0], provider[1]))

    def by_arn(self, arn: str) -> Document:
        """A document by its ARN. Raises NotFoundException."""
        for documents in self.held.values():
            for document in documents.values():
                if document.arn == arn:
                    return document
        raise _MeshError("NotFoundException", f"There is no resource with ARN {arn}.")


def _targets(spec: Mapping[str, Any]) -> list[str]:
    """The nodes that a route names."""
    actions = [spec[kind].get("action", {}) for kind in ROUTE_KINDS if spec.get(kind)]
    return [t["virtualNode"] for action in actions for t in action.get("weightedTargets", [])]


def _provider(spec: Mapping[str, Any]) -> tuple[Sort, str] | None:
    """What provides a virtual service: a node or a router, and its name."""
    provider = spec.get("provider") or {}
    for sort in (NODE, ROUTER):
        if sort.key in provider:
            return sort, provider[sort.key][sort.name]
    return None


def _check_route(spec: Mapping[str, Any]) -> None:
    kinds = [kind for kind in ROUTE_KINDS if spec.get(kind)]
    if len(kinds) != 1:
        raise _bad("A route must have exactly one of " + ", ".join(ROUTE_KINDS) + ".")
    targets = spec[kinds[0]].get("action", {}).get("weightedTargets", [])
    if not 1 <= len(targets) <= TARGETS_A_ROUTE:
        raise _bad(f"A route must have 1 to {TARGETS_A_ROUTE} weighted targets.")
    weights = [target.get("weight") for target in targets]
    if any(type(weight) is not int or weight not in WEIGHT for weight in weights):
        raise _bad("The weight of a target must be a whole number from 0 to 100.")
    if not any(weights):
        raise _bad("At least one target must have a weight above 0.")


# --- requests


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
