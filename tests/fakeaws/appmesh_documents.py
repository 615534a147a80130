"""What App Mesh holds: documents by name, with spec, version and tags, and what it refuses.

Called by appmesh.py, which turns requests into these calls. Knows nothing of moto's requests.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from moto.core.exceptions import ServiceException

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
