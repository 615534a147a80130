"""The rules of a state-of-the-world ADS stream, without a network."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from rollouts.xds.snapshot import Snapshot
from rollouts.xds.streams import History, Request, Response, Stream
from rollouts.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES


def made(
    clusters: str, *, generation: int = 1, to: str | None = None, body: bytes = b""
) -> Snapshot:
    """A snapshot with one-letter clusters; its routes point at ``to`` (all of them if None)."""
    pointed = frozenset(clusters if to is None else to)
    return Snapshot(
        resources={
            CLUSTER: {name: name.encode() + body for name in clusters},
            ENDPOINTS: {name: b"at " + name.encode() for name in clusters},
            LISTENER: {"egress": b"listen"},
            ROUTES: {"egress": "".join(sorted(pointed)).encode()},
        },
        generations={"echo": generation},
        references=pointed,
    )


@dataclass
class Proxy:
    """An Envoy, as far as the protocol goes: asks, accepts, and asks for what it has learnt of."""

    stream: Stream
    refuses: set[str] = field(default_factory=set)
    versions: dict[str, str] = field(default_factory=dict)
    clusters: set[str] = field(default_factory=set)
    routes: str = ""
    inbox: list[Response] = field(default_factory=list)
    log: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    def connect(self) -> None:
        for kind, names in self.subscribed().items():
            self.ask(kind, names)

    def subscribed(self) -> dict[str, frozenset[str]]:
        asked: dict[str, frozenset[str]] = {CLUSTER: frozenset(), LISTENER: frozenset()}
        if ENDPOINTS in self.versions or self.clusters:
            asked[ENDPOINTS] = frozenset(self.clusters)
        if LISTENER in self.versions:
            asked[ROUTES] = frozenset({"egress"})
        return asked

    def ask(self, kind, names, nonce="", error=None) -> None:
        version = self.versions.get(kind, "")
        self.take(self.stream.receive(Request(kind, names, version, nonce, error)))

    def take(self, responses) -> None:
        self.inbox.extend(responses)

    def step(self) -> None:
        """Read one response, check that it breaks nothing, and answer."""
        response = self.inbox.pop(0)
        kind = response.type_url
        self.log.append((kind, response.names))
        if kind in self.refuses:
            self.ask(kind, self.subscribed()[kind], response.nonce, "no, thanks")
            return
        self.versions[kind] = response.version
        if kind == CLUSTER:
            assert set(self.routes) <= set(response.names), "a cluster in use was taken away"
            self.clusters = set(response.names)
        if kind == ROUTES:
            self.routes = response.resources[0].decode()
            assert set(self.routes) <= self.clusters, "a route points at nothing"
        nonce = response.nonce
        self.ask(kind, self.subscribed()[kind], nonce)
        for other in (ENDPOINTS, ROUTES):
            wanted = self.subscribed().get(other)
            known = self.stream.subscriptions.get(other)
            if wanted is not None and (known is None or known.names != wanted):
                nonce = known.nonce if known is not None and known.count else ""
                # Answering what is still unread would acknowledge it.
                if not any(r.type_url == other for r in self.inbox):
                    self.ask(other, wanted, nonce)

    def is_synced(self) -> bool:
        target = self.stream.target
        return target is not None and self.stream.synced(target)

    def run(self) -> None:
        while self.inbox:
            self.step()


def connected(snapshot: Snapshot, history: History | None = None) -> Proxy:
    proxy = Proxy(Stream(history=history or History()))
    proxy.connect()
    proxy.take(proxy.stream.offer(snapshot))
    proxy.run()
    assert proxy.stream.synced(snapshot)
    proxy.log.clear()
    return proxy


def kinds(responses) -> list[str]:
    return [response.type_url for response in responses]


def test_it_sends_nothing_before_there_is_a_snapshot():
    assert Stream().receive(Request(CLUSTER)) == []


def test_a_new_cluster_and_its_endpoints_are_accepted_before_a_route_points_at_it():
    proxy = connected(made("a"))
    proxy.take(proxy.stream.offer(made("ab", generation=2)))
    proxy.run()
    order = [kind for kind, _ in proxy.log]
    assert order.index(CLUSTER) < order.index(ENDPOINTS) < order.index(ROUTES)
    assert proxy.stream.generation("echo") == 2


def test_endpoints_are_sent_again_after_every_change_of_a_cluster():
    proxy = connected(made("a"))
    responses = proxy.stream.offer(made("a", body=b"changed", generation=2))
    assert kinds(responses) == [CLUSTER, ENDPOINTS]


def test_a_removed_cluster_stays_until_the_routes_have_left_it():
    proxy = connected(made("ab"))
    first = proxy.stream.offer(made("a", generation=2))
    assert kinds(first) == [ROUTES]
    proxy.take(first)
    proxy.run()
    assert proxy.log[1] == (CLUSTER, ("a",))
    assert proxy.is_synced()


def test_a_refused_route_keeps_the_clusters_it_still_uses():
    proxy = connected(made("ab"))
    proxy.refuses = {ROUTES}
    proxy.take(proxy.stream.offer(made("a", generation=2)))
    proxy.run()
    assert proxy.clusters == {"a", "b"}
    assert proxy.stream.generation("echo") == 1


def test_what_was_refused_is_reported_and_not_sent_again():
    proxy = connected(made("a"))
    proxy.refuses = {CLUSTER}
    proxy.take(proxy.stream.offer(made("ab", generation=2)))
    proxy.run()
    assert proxy.stream.nack() == "It refused the clusters: no, thanks"
    assert [kind for kind, _ in proxy.log].count(CLUSTER) == 1
    assert ROUTES not in [kind for kind, _ in proxy.log]
    assert not proxy.is_synced()


def test_a_refused_cluster_does_not_stand_in_the_way_of_a_rollback():
    proxy = connected(made("a"))
    proxy.refuses = {CLUSTER}
    proxy.take(proxy.stream.offer(made("abc", to="ac", generation=2)))
    proxy.run()
    proxy.take(proxy.stream.offer(made("ab", to="a", generation=3)))
    proxy.run()
    assert proxy.stream.generation("echo") == 3


def test_an_answer_to_an_older_response_changes_nothing():
    proxy = connected(made("ab", to="a"))
    stream = proxy.stream
    (older,) = stream.offer(made("ab", to="ab", generation=2))
    (newer,) = stream.offer(made("ab", to="b", generation=3))
    assert stream.receive(Request(ROUTES, frozenset({"egress"}), nonce=older.nonce)) == []
    assert stream.generation("echo") == 1
    stream.receive(Request(ROUTES, frozenset({"egress"}), nonce=newer.nonce))
    assert stream.generation("echo") == 3


def test_going_back_to_earlier_routes_waits_for_their_own_answer():
    proxy = connected(made("ab", to="a"))
    stream = proxy.stream
    stream.offer(made("ab", to="b", generation=2))
    (again,) = stream.offer(made("ab", to="a", generation=3))
    assert stream.generation("echo") == 1
    stream.receive(Request(ROUTES, frozenset({"egress"}), nonce=again.nonce))
    assert stream.generation("echo") == 3


def test_a_new_generation_of_the_same_weights_is_confirmed_at_once():
    proxy = connected(made("a"))
    assert proxy.stream.offer(made("a", generation=2)) == []
    assert proxy.stream.generation("echo") == 2


def test_an_older_generation_is_ignored():
    proxy = connected(made("a", generation=5))
    assert proxy.stream.offer(made("b", generation=4)) == []
    assert proxy.stream.target == made("a", generation=5)


def test_an_empty_list_after_names_means_none():
    stream = Stream()
    stream.offer(made("a"))
    (sent,) = stream.receive(Request(CLUSTER, frozenset({"a"})))
    assert stream.receive(Request(CLUSTER, frozenset(), nonce=sent.nonce)) == []
    assert stream.offer(made("ab", generation=2)) == []


def test_a_proxy_that_reconnects_keeps_a_removed_cluster_until_its_routes_left():
    history = History()
    proxy = connected(made("ab"), history)
    proxy.stream = Stream(history=history)
    proxy.take(proxy.stream.offer(made("a", generation=2)))
    proxy.connect()
    proxy.run()
    assert proxy.clusters == {"a"}
    assert proxy.is_synced()


def test_types_that_are_not_served_are_not_answered():
    stream = Stream()
    stream.offer(made("a"))
    assert stream.receive(Request("type.googleapis.com/other", frozenset({"x"}))) == []


actions = st.lists(
    st.one_of(
        st.tuples(
            st.just("offer"),
            st.sets(st.sampled_from("abcd"), min_size=1, max_size=3),
            st.sets(st.sampled_from("abcd"), max_size=3),
            st.integers(-1, 2),
        ),
        st.just(("step",)),
        st.tuples(st.just("refuse"), st.sets(st.sampled_from([CLUSTER, ENDPOINTS, ROUTES]))),
        st.just(("reconnect",)),
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(actions)
def test_a_route_never_points_at_nothing_and_no_generation_goes_back(walk):
    """The proxy asserts the first at every step; the second is watched here."""
    history = History()
    proxy = Proxy(Stream(history=history))
    proxy.connect()
    newest, generation = None, 1
    for action in walk:
        before = proxy.stream.generation("echo") or 0
        if action[0] == "offer":
            clusters, pointed = "".join(sorted(action[1])), "".join(sorted(action[1] & action[2]))
            generation = max(1, generation + action[3])
            newest = made(clusters, to=pointed, generation=generation)
            proxy.take(proxy.stream.offer(newest))
        elif action[0] == "step" and proxy.inbox:
            proxy.step()
        elif action[0] == "refuse":
            proxy.refuses = action[1]
        elif action[0] == "reconnect":
            target = proxy.stream.target
            proxy.stream, proxy.inbox = Stream(history=history), []
            if target is not None:
                proxy.stream.offer(target)
            proxy.connect()
            continue
        assert (proxy.stream.generation("echo") or 0) >= before
    proxy.refuses = set()
    proxy.run()
    if proxy.stream.target is not None and not proxy.stream.nack():
        assert proxy.is_synced()
