"""The state machine of one state-of-the-world ADS stream.

No IO, no clock: requests and snapshots go in, responses to be sent come out, in the order in which
they must be written. ``server`` moves the bytes. Each rule of the protocol says why it is there.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from rollouts.xds.snapshot import Snapshot, content_version
from rollouts.xds.types import CLUSTER, ENDPOINTS, LISTENER, PUSH_ORDER, ROUTES, SHORT

Named = Mapping[str, bytes]
Held = Mapping[str, Named]


@dataclass(frozen=True)
class Request:
    """What a proxy says: ACK (``nonce``, no ``error``), NACK (``error``), or a subscription.

    ``version`` is the last version of this type that it accepted, on this stream or an earlier one.
    """

    type_url: str
    names: frozenset[str] = frozenset()
    version: str = ""
    nonce: str = ""
    error: str | None = None


@dataclass(frozen=True)
class Response:
    """What to send. ``resources`` are sorted by name, so equal contents are equal bytes."""

    type_url: str
    version: str
    nonce: str
    names: tuple[str, ...]
    resources: tuple[bytes, ...]


@dataclass
class Subscription:
    """One type on one stream. ``sent`` and ``acked`` are (version, names) pairs."""

    wildcard: bool
    names: frozenset[str]
    count: int = 0
    sent: tuple[str, frozenset[str]] | None = None
    acked: tuple[str, frozenset[str]] | None = None
    nacked: tuple[str, str] | None = None

    @property
    def nonce(self) -> str:
        return str(self.count)

    def wants(self, name: str) -> bool:
        return self.wildcard or name in self.names

    def accepted(self, version: str) -> bool:
        """Whether the proxy has said yes to this version for every name it asks for now."""
        return self.acked == (version, self.names)


@dataclass
class Stream:
    """One proxy's conversation. Feed it with ``receive`` and ``offer``; send what they return.

    ``remembered`` finds what an earlier stream was sent, by the version of its clusters: a proxy
    that reconnects still routes to those, and they must outlive its old routes.
    """

    remembered: Callable[[str], Held | None] = lambda version: None
    target: Snapshot | None = None
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    confirmed: dict[str, int] = field(default_factory=dict)
    # What this proxy may have by now: clusters and endpoints sent and not yet taken away.
    held: dict[str, dict[str, bytes]] = field(default_factory=lambda: {CLUSTER: {}, ENDPOINTS: {}})
    _accepted_clusters: frozenset[str] = frozenset()
    _clusters_in_flight: frozenset[str] = frozenset()

    # What the proxy says

    def receive(self, request: Request) -> list[Response]:
        """Take one request and return what to send now."""
        subscription = self.subscriptions.get(request.type_url)
        if subscription is None:
            self._subscribe(request)
            return self._due()
        # A request that answers an older response crossed ours on the wire: the proxy will answer
        # the newer one too, and acting on both would double the traffic for ever.
        if request.nonce != subscription.nonce and request.nonce:
            return []
        self._note_answer(subscription, request)
        # Once a stream has named resources an empty list means "none", never "all" again.
        subscription.names = request.names
        if request.names:
            subscription.wildcard = "*" in request.names
        return self._due()

    def _subscribe(self, request: Request) -> None:
        # Only clusters and listeners can be asked for by saying nothing; "*" says it aloud.
        wildcard = "*" in request.names or (
            not request.names and request.type_url in (CLUSTER, LISTENER)
        )
        self.subscriptions[request.type_url] = Subscription(wildcard, request.names)
        if request.type_url == CLUSTER and request.version:
            self._recall(request.version)

    def _recall(self, version: str) -> None:
        """Hold what the proxy still has from an earlier stream, until its routes have moved on."""
        earlier = self.remembered(version)
        if earlier is not None:
            for kind in self.held:
                self.held[kind] = dict(earlier.get(kind, {}))
            self._accepted_clusters = frozenset(self.held[CLUSTER])

    def _note_answer(self, subscription: Subscription, request: Request) -> None:
        if not request.nonce or subscription.sent is None:
            return
        version, names = subscription.sent
        if request.error is not None:
            subscription.nacked = (version, request.error)
            return
        subscription.acked, subscription.nacked = (version, names), None
        if request.type_url == CLUSTER:
            self._accepted_clusters = self._clusters_in_flight
        self._confirm()

    def _confirm(self) -> None:
        """Weights are in force when the routes that carry them have been accepted."""
        routes = self.subscriptions.get(ROUTES)
        if self.target is not None and routes is not None and routes.names:
            if routes.accepted(self.target.versions[ROUTES]):
                self.confirmed.update(self.target.generations)

    # What the control plane wants

    def offer(self, snapshot: Snapshot) -> list[Response]:
        """Move the proxy to this snapshot; one that is older than what it was offered is ignored.

        A proxy must never go back a generation, whatever raced on the way here.
        """
        if self.target is not None and went_back(self.target, snapshot):
            return []
        self.target = snapshot
        self._confirm()
        return self._due()

    def synced(self, snapshot: Snapshot) -> bool:
        """Whether every type that the proxy subscribes to has been accepted at this snapshot."""
        return CLUSTER in self.subscriptions and all(
            subscription.accepted(snapshot.versions[kind])
            for kind, subscription in self.subscriptions.items()
            if kind in snapshot.versions
        )

    def generation(self, service: str) -> int | None:
        """The newest weights of the service that the proxy has confirmed; None: none yet."""
        return self.confirmed.get(service)

    def nack(self) -> str | None:
        """What the proxy refuses now, as a sentence, or None."""
        said = [
            f"Refused {SHORT[kind]} {subscription.nacked[0]}: {subscription.nacked[1]}"
            for kind in PUSH_ORDER
            if (subscription := self.subscriptions.get(kind)) and subscription.nacked
        ]
        return " ".join(said) or None

    # What to send

    def _due(self) -> list[Response]:
        if self.target is None:
            return []
        return list(self._in_order(self.target))

    def _in_order(self, target: Snapshot) -> Iterator[Response]:
        clusters = self._with_held(target, CLUSTER)
        if (response := self._send(CLUSTER, clusters)) is not None:
            self._note_clusters(clusters)
            yield response
            # An updated cluster warms until its endpoints are sent AGAIN on this stream; without
            # that the update takes effect after the initial fetch time-out, 15 seconds.
            if (again := self.subscriptions.get(ENDPOINTS)) is not None:
                again.sent = None
        if (response := self._send(ENDPOINTS, self._with_held(target, ENDPOINTS))) is not None:
            yield response
        if not self._may_point(target):
            return
        for kind in (LISTENER, ROUTES):
            if (response := self._send(kind, target.resources[kind])) is not None:
                yield response

    def _with_held(self, target: Snapshot, kind: str) -> Named:
        """The target's resources, plus those to be removed while the old routes may use them.

        Removal is make-before-break backwards: routes leave first, then what they pointed at.
        """
        wanted = target.resources[kind]
        routes = self.subscriptions.get(ROUTES)
        moved_on = routes is not None and routes.accepted(target.versions[ROUTES])
        if moved_on or not self.held[kind]:
            self.held[kind] = dict(wanted)
            return wanted
        return {**self.held[kind], **wanted}

    def _note_clusters(self, clusters: Named) -> None:
        self.held[CLUSTER] = dict(clusters)
        self._clusters_in_flight = frozenset(clusters)

    def _may_point(self, target: Snapshot) -> bool:
        """Whether the proxy has all that the target's routes point at.

        Asked by reference, not "all accepted": one service's refused cluster must not stand in
        the way of another service's rollback.
        """
        clusters = self.subscriptions.get(CLUSTER)
        if clusters is None or not clusters.wildcard:
            # grpc's own client asks for clusters by name after it has read the routes.
            return True
        if not target.references <= self._accepted_clusters:
            return False
        endpoints = self.subscriptions.get(ENDPOINTS)
        if endpoints is None:
            return not target.references
        return target.references <= endpoints.names and self._endpoints_arrived(endpoints)
