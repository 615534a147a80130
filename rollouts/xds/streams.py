"""The state machine of one state-of-the-world ADS stream.

No IO, no clock: requests and snapshots go in, the responses to be written come out, in order.
``server`` moves the bytes. Each rule of the protocol says why it is there.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from rollouts.xds.snapshot import Snapshot, content_version
from rollouts.xds.types import CLUSTER, ENDPOINTS, LISTENER, PUSH_ORDER, ROUTES, SHORT

Named = Mapping[str, bytes]
NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Request:
    """What a proxy says: a subscription, an ACK (``nonce``) or a NACK (``nonce`` and ``error``).

    ``version`` is the last version of this type it accepted, on this stream or an earlier one.
    """

    type_url: str
    names: frozenset[str] = NOTHING
    version: str = ""
    nonce: str = ""
    error: str | None = None


@dataclass(frozen=True)
class Response:
    """What to send. Equal ``type_url``, ``version`` and ``names`` mean equal ``resources``."""

    type_url: str
    version: str
    nonce: str
    names: tuple[str, ...]
    resources: tuple[bytes, ...]


@dataclass
class Subscription:
    """One type on one stream: what was asked for, sent, accepted (a version each) or refused."""

    wildcard: bool
    names: frozenset[str]
    sent: str | None = None
    covered: frozenset[str] = NOTHING
    count: int = 0
    answered: int = 0
    acked: str | None = None
    nacked: tuple[str, str] | None = None

    @property
    def nonce(self) -> str:
        return str(self.count)

    def needs(self, version: str) -> bool:
        """Whether there is something to send. What was refused is not sent again as it is."""
        if not self.wildcard and not self.names:
            return False
        return self.sent != version or not self.names <= self.covered

    def accepted(self, version: str) -> bool:
        """Whether the proxy said yes to this version, for all it asks for, and was sent no other.

        The last sent counts: an older yes says nothing while a newer response is on the wire.
        """
        if not self.wildcard and not self.names:
            return True
        settled = self.answered == self.count and self.names <= self.covered
        return settled and self.sent == self.acked == version


class History:
    """The clusters and endpoints sent on recent streams, by the version of the clusters.

    A proxy that reconnects still routes to what an earlier stream gave it; its first request names
    that version, so that removal can be make-before-break across streams too.
    """

    def __init__(self, size: int = 32) -> None:
        self._size = size
        self._sent: dict[str, Mapping[str, Named]] = {}

    def put(self, version: str, sent: Mapping[str, Named]) -> None:
        self._sent.pop(version, None)
        self._sent[version] = sent
        if len(self._sent) > self._size:
            self._sent.pop(next(iter(self._sent)))

    def get(self, version: str) -> Mapping[str, Named]:
        return self._sent.get(version, {})


@dataclass
class Stream:
    """One proxy's conversation. Feed ``receive`` and ``offer``; send what they return, in order."""

    history: History = field(default_factory=History)
    target: Snapshot | None = None
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    confirmed: dict[str, int] = field(default_factory=dict)
    # Resources that the target no longer has and the proxy's routes may still point at.
    kept: dict[str, dict[str, bytes]] = field(default_factory=dict)
    # Clusters, and clusters' endpoints, that the proxy has accepted and not been told to drop.
    has: dict[str, frozenset[str]] = field(
        default_factory=lambda: {CLUSTER: NOTHING, ENDPOINTS: NOTHING}
    )
    in_flight: dict[str, frozenset[str]] = field(default_factory=dict)

    # What the proxy says

    def receive(self, request: Request) -> list[Response]:
        """Take one request and return what to send now."""
        subscription = self.subscriptions.get(request.type_url)
        if subscription is None:
            self._subscribe(request)
            return self._due()
        # An answer to an older response crossed ours on the wire. The proxy will answer the newer
        # one too, and acting on both would double the traffic for ever.
        if request.nonce and request.nonce != subscription.nonce:
            return []
        if request.nonce and subscription.sent is not None:
            self._note_answer(subscription, request)
        # Once a stream has named resources, an empty list means "none", never "all" again.
        subscription.names = request.names
        if request.names:
            subscription.wildcard = "*" in request.names
        self._confirm()
        return self._due()

    def _subscribe(self, request: Request) -> None:
        # Only clusters and listeners can be asked for by saying nothing; "*" says it aloud.
        silent = not request.names and request.type_url in (CLUSTER, LISTENER)
        self.subscriptions[request.type_url] = Subscription(
            wildcard=silent or "*" in request.names, names=request.names
        )
        if request.type_url == CLUSTER and request.version:
            earlier = self.history.get(request.version)
            self.has = {kind: frozenset(earlier.get(kind, {})) for kind in self.has}
            self._keep(earlier)

    def _note_answer(self, subscription: Subscription, request: Request) -> None:
        subscription.answered = subscription.count
        if request.error is not None:
            subscription.acked, subscription.nacked = None, (subscription.sent or "", request.error)
            return
        subscription.acked, subscription.nacked = subscription.sent, None
        if request.type_url in self.has:
            self.has[request.type_url] = self.in_flight[request.type_url]

    def _confirm(self) -> None:
        """Weights are in force when the routes that carry them have been accepted."""
        if self.target is not None and self._routes_are_at(self.target):
            self.confirmed = dict(self.target.generations)

    def _routes_are_at(self, target: Snapshot) -> bool:
        routes = self.subscriptions.get(ROUTES)
        if routes is None or not routes.names:
            return False
        return routes.accepted(target.versions[ROUTES])

    # What the control plane wants

    def offer(self, snapshot: Snapshot) -> list[Response]:
        """Move the proxy to this snapshot. One that would take it back a generation is ignored:
        a proxy never sees old weights again, whatever raced on the way here."""
        before, self.target = self.target, snapshot
        if before is not None:
            if went_back(before, snapshot) is not None:
                self.target = before
                return []
            if CLUSTER in self.in_flight:
                self._keep(before.resources)
        else:
            self._keep({})
        self._confirm()
        return self._due()

    def _keep(self, earlier: Mapping[str, Named]) -> None:
        """Hold on to what is to be removed; the target's own resources need no holding."""
        for kind in (CLUSTER, ENDPOINTS):
            named = {**self.kept.get(kind, {}), **earlier.get(kind, {})}
            wanted = self.target.resources[kind] if self.target is not None else {}
            self.kept[kind] = {name: named[name] for name in named if name not in wanted}

    # What the control plane asks

    def synced(self, snapshot: Snapshot) -> bool:
        """Whether the proxy has accepted this snapshot in every type it subscribes to."""
        return CLUSTER in self.subscriptions and all(
            subscription.accepted(snapshot.versions[kind])
            for kind, subscription in self.subscriptions.items()
            if kind in snapshot.versions
        )

    def generation(self, service: str) -> int | None:
        """The newest weights of the service that the proxy has confirmed; None: none yet."""
        return self.confirmed.get(service)

    def quiet(self) -> bool:
        """Whether the proxy has answered everything that it was sent."""
        return all(s.answered == s.count for s in self.subscriptions.values())

    def nack(self) -> str | None:
        """What the proxy refuses at present, as a sentence, or None."""
        refused = [
            f"It refused the {SHORT[kind]}: {subscription.nacked[1]}"
            for kind in PUSH_ORDER
            if (subscription := self.subscriptions.get(kind)) and subscription.nacked
        ]
        return " ".join(refused) or None

    # What to send

    def _due(self) -> list[Response]:
        if self.target is None:
            return []
        # Removal is make-before-break backwards: first the routes leave, then what they pointed at.
        if self._routes_are_at(self.target):
            self.kept = {}
        return list(self._in_order(self.target))

    def _in_order(self, target: Snapshot) -> Iterator[Response]:
        clusters = self._send(target, CLUSTER)
        if clusters is not None:
            # An updated cluster warms until its endpoints are sent AGAIN on this stream; without
            # that the update waits for the initial fetch time-out, 15 seconds.
            if (endpoints := self.subscriptions.get(ENDPOINTS)) is not None:
                endpoints.sent = None
            yield clusters
        for kind in (ENDPOINTS, LISTENER, ROUTES):
            if kind == ROUTES and not self._may_point(target):
                return
            response = self._send(target, kind)
            if response is not None:
                yield response

    def _may_point(self, target: Snapshot) -> bool:
        """Whether the proxy has all that the target's routes point at.

        Asked by reference, not "is everything accepted": one service's refused cluster must not
        stand in the way of another service's rollback.
        """
        clusters = self.subscriptions.get(CLUSTER)
        if clusters is None or not clusters.wildcard:
            # grpc's own client asks for clusters by name, after it has read the routes.
            return True
        # A fallback cluster has no endpoints of its own.
        fed = target.references & target.resources[ENDPOINTS].keys()
        return target.references <= self.has[CLUSTER] and fed <= self.has[ENDPOINTS]

    def _send(self, target: Snapshot, kind: str) -> Response | None:
        subscription = self.subscriptions.get(kind)
        if subscription is None:
            return None
        version, named = self._wanted(target, kind)
        if not subscription.needs(version):
            return None
        every = subscription.wildcard
        names = tuple(sorted(n for n in named if every or n in subscription.names))
        subscription.sent, subscription.covered = version, subscription.names
        subscription.count += 1
        subscription.nacked = None
        self._note_sent(kind, frozenset(names))
        if kind == CLUSTER:
            self._remember(target, version)
        bodies = tuple(named[name] for name in names)
        return Response(kind, version, subscription.nonce, names, bodies)

    def _wanted(self, target: Snapshot, kind: str) -> tuple[str, Named]:
        kept = self.kept.get(kind)
        if not kept:
            return target.versions[kind], target.resources[kind]
        both = {**kept, **target.resources[kind]}
        return content_version(both), both

    def _note_sent(self, kind: str, names: frozenset[str]) -> None:
        if kind in self.has:
            self.in_flight[kind] = names
            # What this response takes away is gone the moment it is written, ACK or not.
            self.has[kind] &= names
        if kind == CLUSTER:
            self.has[ENDPOINTS] &= names

    def _remember(self, target: Snapshot, version: str) -> None:
        sent = {kind: self._wanted(target, kind)[1] for kind in (CLUSTER, ENDPOINTS)}
        self.history.put(version, sent)


def went_back(before: Snapshot, after: Snapshot) -> str | None:
    """The first service whose generation would fall from ``before`` to ``after``, or None."""
    for service, generation in after.generations.items():
        if generation < before.generations.get(service, generation):
            return service
    return None
