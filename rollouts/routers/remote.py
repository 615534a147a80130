"""What the routers on AWS share: read the rows again, look, compare, write, under one lock.

``appmesh`` and ``alb`` fill in how weights are read and written, and what a target is. AWS has no
compare-and-set for either, so every write is made inside a lease, sent once, and only while the
lease lasts longer than the call can. What is overwritten is read first: an answer that was lost
needs no repair, the next look sees what is there.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from rollouts import aws, locks
from rollouts.aws import Account
from rollouts.domain.state import Confirmed, Verdict
from rollouts.errors import (
    AwsError,
    AwsGone,
    InvalidInput,
    LockBusy,
    RouterError,
    RouterUnreachable,
)
from rollouts.models import Route, Service, Version
from rollouts.routers.base import Caps, Joins
from rollouts.routers.shares import Weights, goal, shares, told

log = logging.getLogger(__name__)

# Longer than a look and a write may take; so long does a killed worker keep others from writing.
LEASE_S = 20.0
LOCK_WAIT_S = 1.0  # for a call or two of another worker
TAG_MESH, TAG_TARGET = "meshui:mesh", "meshui:target"


@dataclass(frozen=True)
class Place:
    """Where a service is on AWS: an account, and what the stacks of its mesh say of it.

    ``prefix`` is how outputs of this service begin: EchoServer for echo_server.echo.local.
    """

    account: Account
    mesh: str
    service: Service
    prefix: str
    outputs: Mapping[str, str]

    def output(self, name: str, *, of_service: bool = True) -> str:
        """An output of the mesh's stacks. Raises RouterError while there is none."""
        key = self.prefix + name if of_service else name
        if not self.outputs.get(key):
            raise RouterError(f"No stack of {self.mesh} has the output {key}: create them first.")
        return self.outputs[key]


@dataclass(frozen=True)
class Wanted:
    """What the rows want now. ``weights``: percent by version pk.

    ``awaited``: nobody has seen these weights in force yet, so somebody may be waiting for them.
    ``was_there``: they were read back once; what differs now was changed by somebody else.
    """

    generation: int
    weights: Mapping[int, int]
    awaited: bool = True
    was_there: bool = False


@dataclass(frozen=True)
class Found:
    """Weights by target name as AWS has them; ``raw`` is what a write must keep of the rest."""

    weights: Weights
    raw: Mapping[str, Any] = field(repr=False)
    version: int = 0  # how often it was written, where AWS counts


def place_of(service: Service) -> Place:
    """Raises InvalidInput when the mesh names no region."""
    mesh = service.mesh
    account = aws.account_of(mesh.settings)
    return Place(account, mesh.slug, service, service.output_prefix, mesh.outputs())


def newest(pk: int) -> Wanted:
    """What the newest route says: that is what should be in force. A rollback waits for this."""
    columns = ("generation", "weights", "confirmed_at", "read_back_at")
    row = Route.objects.filter(service=pk).values_list(*columns).first()
    if row is None:
        return Wanted(0, {}, awaited=False)
    generation, weights, confirmed_at, read_back_at = row
    return Wanted(
        generation,
        {int(key): weight for key, weight in weights.items()},
        awaited=confirmed_at is None,
        was_there=bool(confirmed_at or read_back_at),
    )


class RemoteRouter(ABC):
    """The router port on top of what a service of AWS fills in."""

    caps: Caps
    kind: str  # what a person calls the thing that holds the weights: "route", "listener rule"
    holder: str  # the output of the stacks, after the service's prefix, that names that thing

    # --- what AWS is asked, all raise AwsError

    @abstractmethod
    def read(self, place: Place) -> Found:
        """The weights now."""

    @abstractmethod
    def write(self, place: Place, found: Found, weights: Weights) -> Found:
        """Replace the weights, keep the rest of ``found``; return what AWS says is there then."""

    @abstractmethod
    def spare(self, place: Place) -> str:
        """Name of the target that gets all requests while there is no version; may be empty."""

    @abstractmethod
    def name(self, place: Place, pk: int) -> str:
        """Name of a version's target."""

    @abstractmethod
    def noticed(self, place: Place, wanted: Wanted, found: Found) -> None:
        """After each look, for routers that can tell that somebody else wrote."""

    @abstractmethod
    def wrote(self, place: Place, wanted: Wanted, before: Found, after: Found) -> None:
        """After each write; ``before`` is what was there when we looked."""

    def explain(self, place: Place, error: AwsError) -> RouterError:
        """The error of AWS as one of the port."""
        kind = RouterError if error.permanent else RouterUnreachable
        return kind(str(error), permanent=error.permanent)

    # --- the port

    def apply(self, service: Service, generation: int, *, wait_s: float) -> Confirmed:
        with self.at(service) as place:
            if self._nothing_there(place):
                return Confirmed(service.generation, Verdict.YES)
            if generation == service.generation and not (wanted := newest(service.pk)).awaited:
                # At rest no lock is needed to see that nothing has to be done.
                found = self._look(place, wanted)
                if _same(found.weights, self._goal(place, wanted, found, ())):
                    return self.verdict(place, wanted, found)
            return self.settle(place, wait_s=max(wait_s, LOCK_WAIT_S))

    def observe(self, service: Service) -> Confirmed:
        with self.at(service) as place:
            if not service.generation or self._nothing_there(place):
                return Confirmed(service.generation, Verdict.YES)
            last = newest(service.pk)
            weights = {int(key): weight for key, weight in service.weights.items()}
            wanted = Wanted(
                service.generation,
                weights,
                was_there=last.was_there and last.generation == service.generation,
            )
            return self.verdict(place, wanted, self._look(place, wanted))

    @abstractmethod
    def ensure_targets(self, service: Service, versions: Sequence[Version]) -> Joins: ...

    @abstractmethod
    def drop_targets(self, service: Service, versions: Sequence[Version]) -> None: ...

    # --- shared

    def _nothing_there(self, place: Place) -> bool:
        """No weights are wanted, and nothing that could have any was made, or it is gone again."""
        holds = place.outputs.get(place.prefix + self.holder)
        return not holds and not any(place.service.weights.values())

    @contextmanager
    def at(self, service: Service) -> Iterator[Place]:
        """Where the service is; errors inside become RouterError."""
        try:
            place = place_of(service)
        except InvalidInput as error:
            raise RouterError(str(error), permanent=True) from error
        try:
            yield place
        except LockBusy as error:
            raise RouterUnreachable(str(error)) from error
        except AwsError as error:
            raise self.explain(place, error) from error

    def _look(self, place: Place, wanted: Wanted) -> Found:
        found = self.read(place)
        self.noticed(place, wanted, found)
        return found

    @contextmanager
    def locked(
        self, place: Place, what: str, wait_s: float = LOCK_WAIT_S
    ) -> Iterator[tuple[locks.Held, Wanted]]:
        """Alone with the service's ``weights`` or ``targets``, and with the rows as they are then.

        Two locks, so that a rollback never waits while targets are made. Calls are sent once; while
        somebody waits for the weights they are not held back.
        """
        name = f"service-{place.service.pk}-{what}"
        with locks.hold(name, seconds=LEASE_S, wait_s=wait_s) as held, ExitStack() as around:
            wanted = newest(place.service.pk)
            if wanted.awaited:
                around.enter_context(aws.urgent())
            around.enter_context(aws.once())
            yield held, wanted

    def settle(self, place: Place, *, wait_s: float = LOCK_WAIT_S, name: Sequence[int] = ()
               ) -> Confirmed:  # fmt: skip
        """Make the weights on AWS those of the rows, and name the targets of the versions ``name``.

        One call when nothing differs, two when something does: the answer to the write carries
        what is there then, so it is the read-back.
        """
        with self.locked(place, "weights", wait_s) as (lease, wanted):
            found = self._look(place, wanted)
            weights = self._goal(place, wanted, found, name)
            if not _same(found.weights, weights):
                seen = self.verdict(place, wanted, found)
                log.info("%s: %s, writing %s", place.service.slug, told(found.weights), weights)
                if seen.verdict is Verdict.NO and wanted.was_there:
                    log.warning("%s: %s", place.service.slug, " ".join(seen.lagging))
                lease.check(aws.longest_s())
                before, found = found, self.write(place, found, weights)
                self.wrote(place, wanted, before, found)
            return self.verdict(place, wanted, found)

    def _goal(
        self, place: Place, wanted: Wanted, found: Found, name: Sequence[int]
    ) -> dict[str, int]:
        """What should be written: no version without weight or tasks stays named."""
        asked = self._named(place, wanted)
        stays: set[str] = set()
        if name or set(found.weights) - set(asked):
            running = place.service.versions.filter(count__gt=0).values_list("pk", flat=True)
            new = {self.name(place, pk) for pk in name}
            stays = {self.name(place, pk) for pk in running} & (set(found.weights) | new)
        return goal(found.weights, asked, stays)

    def _named(self, place: Place, wanted: Wanted) -> dict[str, int]:
        """The rows' weights by target name; empty where nothing was ever stored."""
        weights = {self.name(place, pk): w for pk, w in wanted.weights.items() if w}
        if not weights and wanted.generation and (spare := self.spare(place)):
            return {spare: 100}
        return weights

    def verdict(self, place: Place, wanted: Wanted, found: Found) -> Confirmed:
        """Do these weights mean what is stored? A sentence when they do not."""
        asked = self._named(place, wanted)
        if not asked or shares(asked) == shares(found.weights):
            return Confirmed(wanted.generation, Verdict.YES)
        says = f"The {self.kind} sends {told(found.weights)}"
        if wanted.was_there:
            sentence = f"{says}: somebody else changed it. It is put back to {told(asked)}."
        else:
            sentence = f"{says}; {told(asked)} is not written yet."
        return Confirmed(wanted.generation, Verdict.NO, (sentence,))

    def kept(self, place: Place, versions: Sequence[Version]) -> set[str]:
        """Names of targets that must stay: of those versions, and of all that has tasks now."""
        service = place.service
        pks = {version.pk for version in versions}
        pks.update(service.versions.filter(count__gt=0).values_list("pk", flat=True))
        pks.update(service.running.values_list("version_id", flat=True))
        return {self.name(place, pk) for pk in pks}

    def check_room(self, place: Place, versions: Sequence[Version]) -> None:
        """Raises RouterError when more versions have tasks than one route can name."""
        if len(versions) > self.caps.max_targets:
            raise RouterError(
                f"A {self.kind} names {self.caps.max_targets} versions at most, and "
                f"{len(versions)} of {place.service.slug} have tasks: destroy an idle one.",
                permanent=True,
            )


def _same(one: Weights, other: Weights) -> bool:
    """Equal in effect, and naming the same targets."""
    return shares(one) == shares(other) and set(one) == set(other)


def ours(tags: Mapping[str, str], place: Place) -> bool:
    """Was this made by meshui, for this mesh? Nothing else is ever removed."""
    return tags.get(TAG_MESH) == place.mesh


def ignore_gone(place: Place, service: str, operation: str, **arguments: Any) -> None:
    """Remove what may be gone already. Raises AwsError for everything else."""
    try:
        aws.call(place.account, service, operation, **arguments)
    except AwsGone:
        log.info("%s: gone already: %s", place.service.slug, arguments)
