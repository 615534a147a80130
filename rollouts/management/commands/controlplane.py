"""``manage.py controlplane``: the Envoy control plane as a process.

Joins the rows (``xds.source``) with the server (``xds.server``), for proxies of this machine and,
with ``--tls-address``, for those beside tasks elsewhere: reads the rows when somebody
rings, and by itself twice a second; writes what proxies acknowledge. Stateless: it can be killed
and started again at any time.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, close_old_connections

from rollouts import clock, reconcile
from rollouts.errors import InvalidInput, MeshuiError
from rollouts.pki import Authority
from rollouts.xds import peers, source
from rollouts.xds.proxies import ProxyState
from rollouts.xds.server import ControlPlane
from rollouts.xds.snapshot import Mesh, VirtualService, snapshot
from rollouts.xds.tls import ServerCertificate

log = logging.getLogger("rollouts.controlplane")
T = TypeVar("T")

POLL_S = 0.5  # the broker and the doors may be silent; the rows are not
WRITE_S = 0.1


class Command(BaseCommand):
    help = "Serves Envoy proxies with what the database says (xDS)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--address", default=f"127.0.0.1:{settings.XDS_PORT}")
        parser.add_argument(
            "--tls-address",
            default=settings.XDS_TLS_ADDRESS,
            help="host:port for proxies elsewhere, by TLS and with a certificate; empty: none",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            asyncio.run(_Process(options["address"], options["tls_address"]).run())
        except MeshuiError as error:
            raise CommandError(str(error)) from error


class _Process:
    def __init__(self, address: str, tls_address: str) -> None:
        self._address, self._tls_address = address, tls_address
        # Meshes that are not served as their rows are, so that each is logged once.
        self._wrong: dict[str, str] = {}
        # One thread: one database connection that stays open, and reads in the order they came.
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._meshes: dict[str, Mesh] = {}  # as they are served
        self._heard: dict[tuple[str, str], ProxyState] = {}
        self._plane = ControlPlane(
            now=lambda: clock.moment().now,
            refresh=self._refresh,
            on_change=self._hear,
            state_dir=settings.STATE / "xds",
        )
        self._certificate = ServerCertificate(
            Authority(settings.PKI_DIR), settings.XDS_NAMES, lambda: clock.moment().now
        )

    async def run(self) -> None:
        stop = asyncio.Event()
        for signum in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(signum, stop.set)
        await self._refresh_all()
        self._plane.remember(await self._read(source.known_proxies, clock.moment().now))
        await self._plane.start(self._address)
        log.info("control plane listens on %s", self._address)
        if self._tls_address:
            credentials = self._certificate.credentials()
            await self._plane.start_guarded(self._tls_address, credentials, peers.admit)
            log.info("control plane listens on %s by TLS", self._tls_address)
        chores = [asyncio.create_task(self._poll()), asyncio.create_task(self._write())]
        await stop.wait()
        for chore in chores:
            chore.cancel()
        await self._plane.stop()
        self._thread.shutdown(wait=True)

    async def _read(self, what: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, what, *args)

    async def _refresh(self, slug: str, name: str) -> None:
        """Serve one service as it is now: somebody waits, perhaps with a rollback.

        Newer weights go out first; everything else about the service follows while proxies answer.
        """
        known = self._known(slug, name)
        if known is not None:
            self._replace(slug, await self._read(source.newer_weights, slug, known))
        found = await self._read(source.load_service, slug, name)
        if found is None or self._known(slug, name) is None:
            await self._load(slug)
        else:
            self._replace(slug, found)

    def _known(self, slug: str, name: str) -> VirtualService | None:
        mesh = self._meshes.get(slug)
        services = mesh.services if mesh is not None else ()
        return next((each for each in services if each.name == name), None)

    def _replace(self, slug: str, found: VirtualService | None) -> None:
        """Serve the mesh with one service changed.

        The mesh is looked up after the read: what is served was read earlier, so is no newer.
        """
        mesh = self._meshes.get(slug)
        if found is None or mesh is None:
            return
        services = tuple(found if each.name == found.name else each for each in mesh.services)
        self._serve(replace(mesh, services=services))

    async def _refresh_all(self) -> None:
        for slug in await self._read(source.meshes):
            await self._load(slug)
        names = await self._read(source.control_plane_names)
        self._certificate.names = tuple(dict.fromkeys([*settings.XDS_NAMES, *names]))

    async def _load(self, slug: str) -> None:
        try:
            mesh = await self._read(source.load, slug)
        except InvalidInput as error:
            self._is_wrong(slug, error)
        else:
            self._serve(mesh)

    def _serve(self, mesh: Mesh | None) -> None:
        if mesh is None or mesh == self._meshes.get(mesh.name):
            return
        try:
            self._plane.set_snapshot(mesh.name, snapshot(mesh))
        except InvalidInput as error:
            self._is_wrong(mesh.name, error)
        else:
            self._meshes[mesh.name] = mesh
            self._wrong.pop(mesh.name, None)

    def _is_wrong(self, slug: str, error: InvalidInput) -> None:
        """What is served stays; the router sees that the generation does not come."""
        if self._wrong.get(slug) != str(error):
            self._wrong[slug] = str(error)
            log.error("mesh %s: not served: %s", slug, error)

    async def _poll(self) -> None:
        seen: object = None
        while True:
            await asyncio.sleep(POLL_S)
            try:
                now = await self._read(source.fingerprint)
                if now != seen:
                    await self._refresh_all()
                    seen = now
                await self._read(reconcile.beat, "controlplane", clock.moment())
            except DatabaseError as error:
                log.warning("database: %s", error)
                await self._read(close_old_connections)

    def _hear(self, state: ProxyState) -> None:
        self._heard[state.mesh, state.node] = state

    async def _write(self) -> None:
        while True:
            await asyncio.sleep(WRITE_S)
            heard, self._heard = self._heard, {}
            if not heard:
                continue
            try:
                await self._read(source.write, heard.values(), clock.moment().now)
            except DatabaseError as error:
                log.warning("acknowledgements not written, trying again: %s", error)
                self._heard = {**heard, **self._heard}
