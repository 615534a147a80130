"""The control plane as a gRPC server: Envoys on one side, whoever sets snapshots on the other.

``set_snapshot`` is pushed to every proxy at once; ``confirm`` waits for their answers. All on one
event loop, no threads, no database: the caller reads rows and says what is to be served.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import grpc
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest

from rollouts.errors import InvalidInput, MeshuiError, PeerRefused
from rollouts.xds import lastgood, sync
from rollouts.xds.listening import Handler, serving
from rollouts.xds.proxies import Bodies, Connection, ProxyState
from rollouts.xds.snapshot import Sidecar, Snapshot, beside_a_task
from rollouts.xds.streams import History, Response, Stream, went_back
from rollouts.xds.types import CLUSTER

log = logging.getLogger(__name__)

ADS_SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
SYNC_SERVICE = "meshui.control.v1.ControlPlane"
REMEMBER = timedelta(seconds=60)
SENTENCES = 1000  # refusals of proxies that are remembered, so that each is logged once

Refresh = Callable[[str, str], Awaitable[None]]
# What is known of the certificate, and who the node says it is, to its name. Raises PeerRefused.
Admit = Callable[[Mapping[str, Iterable[bytes]], Node], tuple[str, Sidecar]]
# In quotes: generic to the type checker only.
Context: TypeAlias = "grpc.aio.ServicerContext[DiscoveryRequest, bytes]"


class ControlPlane:
    """Serves snapshots to proxies, by mesh.

    ``now`` tells the time. ``on_change`` hears of every change of a proxy, on the event loop.
    ``refresh(mesh, service)`` is awaited before a Sync is answered and should call
    ``set_snapshot`` with what the rows say. ``state_dir`` is where last-known-good files go.
    """

    def __init__(
        self,
        *,
        now: Callable[[], datetime],
        refresh: Refresh | None = None,
        on_change: Callable[[ProxyState], None] | None = None,
        state_dir: Path | None = None,
    ) -> None:
        self._now = now
        self._refresh = refresh
        self._on_change = on_change
        self._state_dir = state_dir
        self._snapshots: dict[str, Snapshot] = {}
        # What sidecars get of the snapshot of their mesh.
        self._views: dict[tuple[str, Sidecar], Snapshot] = {}
        self._open: set[Connection] = set()
        # The newest connection of each proxy, open or not, by (mesh, node).
        self._known: dict[tuple[str, str], Connection] = {}
        self._reported: dict[tuple[str, str], ProxyState] = {}
        self._history = History()
        self._bodies = Bodies()
        self._saved: dict[str, Snapshot] = {}
        self._saving: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._servers: list[grpc.aio.Server] = []
        self._refusals: set[str] = set()

    # Life

    async def start(self, address: str) -> int:
        """Listen on ``host:port`` or ``unix:path``; return the port (port 0: a free one).

        Nobody is asked who they are: for this machine only. Raises InvalidInput.
        """
        self._recall_last_good()
        server = await self._server(self._ads_handler(self._serve_anybody), self._sync_handler())
        port = _listen(address, lambda: server.add_insecure_port(address))
        await server.start()
        return port

    async def start_guarded(
        self, address: str, credentials: grpc.ServerCredentials, admit: Admit
    ) -> int:
        """Listen for sidecars too, by TLS, and let in whom ``admit`` lets in; return the port.

        ``credentials`` must demand a certificate. Nothing but ADS and health is to be had here.
        Raises InvalidInput.
        """

        async def serve(requests: AsyncIterator[DiscoveryRequest], context: Context) -> None:
            await self._serve_sidecar(requests, context, admit)

        server = await self._server(self._ads_handler(serve))
        port = _listen(address, lambda: server.add_secure_port(address, credentials))
        await server.start()
        return port

    async def _server(self, *handlers: Handler) -> grpc.aio.Server:
        server = await serving(*handlers)
        self._servers.append(server)
        return server

    async def stop(self) -> None:
        """End every stream and close the port. Proxies keep serving what they have."""
        for connection in self._open:
            connection.close()
        await asyncio.gather(*(server.stop(grace=1.0) for server in self._servers))
        self._servers.clear()
        if self._saving is not None:
            await self._saving

    def _recall_last_good(self) -> None:
        """Remember what proxies were sent before this process: they will reconnect with it."""
        if self._state_dir is None:
            return
        for snapshot in lastgood.load_all(self._state_dir).values():
            self._history.put(snapshot.versions[CLUSTER], snapshot.resources)

    # Snapshots

    def set_snapshot(self, mesh: str, snapshot: Snapshot) -> None:
        """Serve this from now on. Raises InvalidInput when it would take a service back."""
        before = self._snapshots.get(mesh)
        if before is not None and (service := went_back(before, snapshot)) is not None:
            raise InvalidInput(
                "generation",
                f"{service} is at generation {before.generations[service]}; "
                f"generation {snapshot.generations[service]} is older and is not served.",
            )
        if before == snapshot:
            return
        self._snapshots[mesh] = snapshot
        self._views = {key: view for key, view in self._views.items() if key[0] != mesh}
        for connection in self._open:
            if connection.state.mesh == mesh and (seen := self._seen_by(connection)) is not None:
                connection.offer(seen)

    def snapshot_of(self, mesh: str) -> Snapshot | None:
        return self._snapshots.get(mesh)

    def _seen_by(self, connection: Connection) -> Snapshot | None:
        """What this proxy should have of the snapshot of its mesh."""
        mesh, sidecar = connection.state.mesh, connection.sidecar
        whole = self._snapshots.get(mesh)
        if whole is None or sidecar is None:
            return whole
        if (mesh, sidecar) not in self._views:
            self._views[mesh, sidecar] = beside_a_task(whole, sidecar)
        return self._views[mesh, sidecar]

    # Proxies

    def remember(self, states: Iterable[ProxyState]) -> None:
        """Know proxies from before this process: until they connect, they count as cut off.

        Without this a restart would forget a proxy that is still serving older weights.
        """
        for state in states:
            connection = Connection(
                state.node, state.mesh, Stream(history=self._history), self._now()
            )
            connection.closed = True
            connection.state = replace(state, connected=False, synced=False, generations={})
            self._known.setdefault((state.mesh, state.node), connection)
            self._reported.setdefault((state.mesh, state.node), connection.state)

    def proxies(self, mesh: str) -> list[ProxyState]:
        """Every proxy that is connected or was within the last minute, by name."""
        self._forget()
        return [c.state for (of, _), c in sorted(self._known.items()) if of == mesh]

    async def confirm(
        self, mesh: str, service: str, generation: int, timeout_s: float
    ) -> list[ProxyState]:
        """Wait until every connected proxy has confirmed or refused, or ``timeout_s`` is over.

        With no proxy connected it waits for one: silence is not agreement. The answer has every
        known proxy; the caller compares ``generations``, for some may not have confirmed.
        """

        def done(connection: Connection) -> bool:
            return connection.has_confirmed(service, generation) or connection.is_refusing()

        await self._until_all(mesh, done, timeout_s)
        return self.proxies(mesh)

    async def settle(self, mesh: str, timeout_s: float) -> list[ProxyState]:
        """Wait until every connected proxy has accepted the whole snapshot (or refused part).

        This, not ``confirm``, covers changes without a new generation, such as draining.
        """

        def done(connection: Connection) -> bool:
            accepted = connection.state.synced and not connection.is_behind()
            return accepted or connection.is_refusing()

        await self._until_all(mesh, done, timeout_s)
        return self.proxies(mesh)

    async def _until_all(
        self, mesh: str, done: Callable[[Connection], bool], timeout_s: float
    ) -> None:
        """Wait until there is an open connection and all are ``done``, or the time is over."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            connections = [c for c in self._open if c.state.mesh == mesh]
            if connections and all(map(done, connections)):
                return
            try:
                async with asyncio.timeout_at(deadline):
                    await self._changed.wait()
            except TimeoutError:
                return

    def _note(self, connection: Connection) -> None:
        """Look at a connection, and tell whoever waits or keeps a record if it has changed."""
        mesh, node = connection.state.mesh, connection.state.node
        state = connection.look(self._seen_by(connection))
        if self._known.get((mesh, node)) is not connection:
            return
        known = self._reported.get((mesh, node))
        if known is not None and replace(known, last_seen=state.last_seen) == state:
            return
        self._reported[mesh, node] = state
        if state.nack is not None and (known is None or known.nack != state.nack):
            log.warning("mesh %s proxy %s: %s", mesh, node, state.nack)
        if self._on_change is not None:
            self._on_change(state)
        self._keep_last_good(state)
        self._changed.set()
        self._changed = asyncio.Event()

    def _forget(self) -> None:
        for key, connection in list(self._known.items()):
            left_at = connection.state.disconnected_at
            if left_at is not None and self._now() - left_at > REMEMBER:
                del self._known[key]
                del self._reported[key]

    # Last-known-good

    def _keep_last_good(self, state: ProxyState) -> None:
        """Write the snapshot to disk once a real proxy has accepted all of it."""
        current = self._snapshots.get(state.mesh)
        if self._state_dir is None or current is None or not state.synced:
            return
        if self._saved.get(state.mesh) is current or self._saving is not None:
            return
        self._saving = asyncio.create_task(self._save(self._state_dir, state.mesh, current))

    async def _save(self, directory: Path, mesh: str, snapshot: Snapshot) -> None:
        try:
            await asyncio.to_thread(lastgood.save, directory, mesh, snapshot)
            self._saved[mesh] = snapshot
        except OSError as error:
            # Serving goes on without it; what is lost is a start with nobody to ask.
            log.error("mesh %s: last-known-good not written: %s", mesh, error)
            return
        finally:
            self._saving = None
        for connection in self._known.values():
            self._keep_last_good(connection.state)

    # Envoy's side

    def _ads_handler(self, serve: Any) -> Handler:
        stream = grpc.stream_stream_rpc_method_handler(
            serve,
            request_deserializer=DiscoveryRequest.FromString,
            response_serializer=None,
        )
        return grpc.method_handlers_generic_handler(
            ADS_SERVICE, {"StreamAggregatedResources": stream}
        )

    async def _serve_anybody(
        self, requests: AsyncIterator[DiscoveryRequest], context: Context
    ) -> None:
        # Envoy may name its node in the first request of a stream only.
        first = await anext(requests, None)
        if first is None:
            return
        node = first.node
        if not node.id or not node.cluster:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, "The node has no id, or no cluster (its mesh)."
            )
        connection = self._open_connection(node.id, node.cluster)
        await self._serve_stream(first, requests, context, connection)

    async def _serve_sidecar(
        self, requests: AsyncIterator[DiscoveryRequest], context: Context, admit: Admit
    ) -> None:
        first = await anext(requests, None)
        if first is None:
            return
        try:
            name, sidecar = admit(context.auth_context(), first.node)
        except PeerRefused as refused:
            node = first.node
            self._log_refusal(f"mesh {node.cluster!r} proxy {node.id!r}: {refused}"[:400])
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(refused))
        connection = self._open_connection(name, first.node.cluster, sidecar)
        await self._serve_stream(first, requests, context, connection)

    def _log_refusal(self, text: str) -> None:
        """Once: a proxy that is sent away asks again several times a second."""
        if text in self._refusals:
            return
        if len(self._refusals) >= SENTENCES:
            self._refusals.clear()
        self._refusals.add(text)
        log.warning("sent away: %s", text)

    async def _serve_stream(
        self,
        first: DiscoveryRequest,
        requests: AsyncIterator[DiscoveryRequest],
        context: Context,
        connection: Connection,
    ) -> None:
        connection.heard(first, self._now())
        reader = asyncio.create_task(self._read(requests, connection))

        async def write(response: Response) -> None:
            await context.write(self._bodies.get(response))

        try:
            await connection.converse(write, lambda: self._note(connection))
        finally:
            reader.cancel()
            self._close_connection(connection)

    async def _read(
        self, requests: AsyncIterator[DiscoveryRequest], connection: Connection
    ) -> None:
        try:
            async for message in requests:
                connection.heard(message, self._now())
        finally:
            connection.close()

    def _open_connection(self, node: str, mesh: str, sidecar: Sidecar | None = None) -> Connection:
        stream = Stream(history=self._history)
        connection = Connection(node, mesh, stream, self._now(), sidecar=sidecar)
        self._open.add(connection)
        self._known[mesh, node] = connection
        seen = self._seen_by(connection)
        if seen is not None:
            connection.offer(seen)
        self._note(connection)
        return connection

    def _close_connection(self, connection: Connection) -> None:
        self._open.discard(connection)
        connection.state = replace(
            connection.state, connected=False, synced=False, disconnected_at=self._now()
        )
        self._note(connection)

    # The other side: "read the rows again, and tell me what the proxies say"

    def _sync_handler(self) -> Handler:
        method = grpc.unary_unary_rpc_method_handler(self._sync)
        return grpc.method_handlers_generic_handler(SYNC_SERVICE, {"Sync": method})

    async def _sync(self, body: bytes, context: object) -> bytes:
        try:
            answer = await self._answer_sync(body)
        except MeshuiError as error:
            answer = {"error": str(error)}
        return json.dumps(answer).encode()

    async def _answer_sync(self, body: bytes) -> dict[str, Any]:
        mesh, service, generation, wait_s = sync.read(body)
        if self._refresh is not None:
            await self._refresh(mesh, service)
        proxies = await self.confirm(mesh, service, generation, wait_s)
        snapshot = self._snapshots.get(mesh)
        current = snapshot.generations.get(service) if snapshot is not None else None
        return {"generation": current, "proxies": [sync.as_json(proxy) for proxy in proxies]}


def _listen(address: str, bind: Callable[[], int]) -> int:
    """gRPC keeps the reason to itself."""
    try:
        return bind()
    except RuntimeError as error:
        raise InvalidInput("address", f"The control plane cannot listen on {address}.") from error
