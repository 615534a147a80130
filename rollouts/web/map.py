"""The live map: who calls whom through what, and how much of it, as a drawing and as a list.

Browser → load balancer → callers → virtual router → versions with their tasks. Read by the rollout
and the service page. Pure over Facts plus one query for the callers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from urllib.parse import urlsplit

from rollouts.domain.failures import brief
from rollouts.models import Service, Task
from rollouts.web.board import VersionLine, lines
from rollouts.web.facts import Facts

LOOPBACK = ("127.0.0.1", "::1")
COLUMN, GAP, CHIP, HEAD, PAD = 168, 74, 30, 50, 10


@dataclass(frozen=True)
class Chip:
    """One task or proxy: ``mark`` ✓, ! or …, and ``why`` it is not well."""

    name: str
    well: bool
    mark: str
    why: str = ""
    y: int = 0

    @property
    def kind(self) -> str:
        return {"✓": "ok", "!": "bad", "…": "wait"}[self.mark]


@dataclass(frozen=True)
class Box:
    """A box at ``x``, ``y`` (SVG units); ``slot`` colours a version, ``warn`` marks trouble."""

    title: str
    note: str
    chips: Sequence[Chip]
    x: int = 0
    y: int = 0
    slot: int = 0
    role: str = ""
    warn: str = ""

    width: int = COLUMN

    @property
    def height(self) -> int:
        return HEAD + len(self.chips) * CHIP + (PAD if self.chips else 0)

    @property
    def middle(self) -> int:
        return self.y + self.height // 2

    @property
    def right(self) -> int:
        return self.x + self.width


@dataclass(frozen=True)
class Arrow:
    """From box to box. ``width`` px grows with the traffic; ``idle`` arrows are dashed."""

    path: str
    width: float
    idle: bool
    slot: int = 0
    label: str = ""
    sub: str = ""
    x: int = 0
    y: int = 0


@dataclass(frozen=True)
class Map:
    boxes: Sequence[Box]
    arrows: Sequence[Arrow]
    width: int
    height: int
    sentences: Sequence[str] = field(default=())


def service_map(facts: Facts) -> Map:
    columns = [[_browser(facts)], *_way_in(facts)]
    caller = callers_of(facts.service)
    if caller is not None:
        columns.append([_caller(caller)])
    columns.append([_router(facts)])
    shown = [line for line in lines(facts) if line.tasks or line.desired or line.role != "idle"]
    columns.append([_version(line) for line in shown])
    placed = _place(columns)
    height = max(box.y + box.height for column in placed for box in column) + PAD
    rate = sum(line.figures.rate or 0.0 for line in shown)
    chain = [column[0] for column in placed[:-1]]
    arrows = [_link(a, b, rate) for a, b in pairwise(chain)]
    arrows += [_split(chain[-1], box, line) for box, line in zip(placed[-1], shown, strict=True)]
    boxes = [box for column in placed for box in column]
    return Map(boxes, arrows, placed[-1][0].right + PAD, height, _sentences(boxes, shown))


def callers_of(service: Service) -> Service | None:
    """The HTTP service whose public prefix serves the sampled path: who calls this one."""
    fronts = Service.objects.filter(mesh=service.mesh_id).exclude(public_prefix="")
    fit = [s for s in fronts if service.sample_path.startswith(s.public_prefix)]
    best = max(fit, key=lambda s: len(s.public_prefix), default=None)
    return None if best is None or best.pk == service.pk else best


def _browser(facts: Facts) -> Box:
    path = facts.service.sample_path or facts.service.public_prefix
    return Box("Browser", _short(path or "no public path", 22), ())


def _way_in(facts: Facts) -> list[list[Box]]:
    """What requests pass before they are split: our Envoy, or AWS's and those beside callers."""
    mesh = facts.service.mesh
    if mesh.platform == "local":
        return [[_proxies(facts, "Load balancer")]]
    balancer = Box("Load balancer", _short(urlsplit(mesh.public_url).netloc or "not there", 22), ())
    if mesh.router != "envoy":
        return [[balancer]]
    names = {proxy.node.partition("/")[0] for proxy in facts.proxies if "/" in proxy.node}
    return [[balancer], [_proxies(facts, " ".join(sorted(names)) or "Callers")]]


def _proxies(facts: Facts, title: str) -> Box:
    chips = []
    for proxy in facts.proxies:
        name = proxy.node.rpartition("/")[2]
        behind = facts.acknowledged.get(proxy.pk, -1) < facts.service.generation
        if proxy.nack:
            chips.append(Chip(name, False, "!", f"refuses the configuration: {proxy.nack}"))
        elif not proxy.connected:
            chips.append(Chip(name, False, "!", "is not connected to the control plane"))
        elif behind:
            chips.append(Chip(name, False, "…", "has not confirmed the weights yet"))
        else:
            chips.append(Chip(name, True, "✓"))
    warn = next((f"{c.name} {c.why}" for c in chips if c.mark == "!"), "")
    return Box(title, _count(len(chips)), chips, warn=warn)


def _count(count: int) -> str:
    return f"{count} prox{'y' if count == 1 else 'ies'}" if count else "no proxy is known"


def _caller(caller: Service) -> Box:
    tasks = Task.objects.filter(service=caller).select_related("version")
    chips = [_chip(task) for task in tasks]
    return Box(caller.slug, "calls it", chips)


def _router(facts: Facts) -> Box:
    generation = facts.service.generation
    note = f"route {generation}, {'confirmed' if facts.confirmed else 'not confirmed'}"
    return Box("Virtual router", note if facts.route else "no route yet", ())


def _version(line: VersionLine) -> Box:
    chips = [_chip(task) for task in line.tasks]
    note = f"{line.healthy}/{line.wanted} healthy"
    return Box(line.version.label, note, chips, slot=line.version.slot, role=line.role)


def _chip(task: Task) -> Chip:
    # On this machine tasks differ by their port, elsewhere each has an address of its own.
    local = task.port and task.host in LOOPBACK
    address = f"{task.host}:{task.port}" if local else task.host
    address = address or f"task {task.name.rpartition('/')[2][:8]}"  # ECS gave it none (yet)
    if task.healthy:
        draining = task.draining
        return Chip(address, not draining, "…" if draining else "✓", "draining" if draining else "")
    mark = "!" if task.reason else "…"
    return Chip(address, False, mark, brief(task.reason) or task.state)


def _place(columns: Sequence[Sequence[Box]]) -> list[list[Box]]:
    """Columns side by side, boxes of a column one below the other, all around one middle."""
    tall = max(sum(box.height for box in c) + (len(c) - 1) * 24 for c in columns)
    placed, x = [], PAD
    for column in columns:
        size = sum(box.height for box in column) + (len(column) - 1) * 24
        y = PAD + (tall - size) // 2
        boxes = []
        for box in column:
            chips = [
                Chip(c.name, c.well, c.mark, c.why, y + HEAD + n * CHIP)
                for n, c in enumerate(box.chips)
            ]
            boxes.append(Box(box.title, box.note, chips, x, y, box.slot, box.role, box.warn))
            y += box.height + 24
        placed.append(boxes)
        x += COLUMN + (GAP * 3 if column is columns[-2] else GAP // 2)
    return placed


def _link(a: Box, b: Box, rate: float) -> Arrow:
    path = f"M{a.right} {a.middle}L{b.x - 8} {b.middle}"
    return Arrow(path, _width(rate, 100.0 if rate else 0.0), not rate)


def _split(a: Box, b: Box, line: VersionLine) -> Arrow:
    """To one version: desired and observed share, and requests a second."""
    start, end = a.right, b.x - 8
    # The curve is flat by the time it reaches its label.
    path = f"M{start} {a.middle}C{start + 60} {a.middle} {start + 20} {b.middle} {end} {b.middle}"
    seen = line.figures.observed
    observed = "—" if seen is None else f"{seen:.1f} %"
    rate = "" if line.figures.rate is None else f"{line.figures.rate:.1f} req/s"
    share = seen if seen is not None else 0.0
    return Arrow(
        path=path,
        width=_width(line.figures.rate or 0.0, share),
        idle=not share,
        slot=line.version.slot,
        label=f"{observed} of {line.desired} %",
        sub=rate,
        x=b.x - 14,
        # Outside of the fan, where no other arrow passes.
        y=b.middle + 22 if b.middle > a.middle else b.middle - 28,
    )


def _width(rate: float, share: float) -> float:
    """1.5 px without traffic, up to 11 px for all of it."""
    return 1.5 if not share else round(2 + 9 * min(100.0, share) / 100, 1)


def _sentences(boxes: Sequence[Box], shown: Sequence[VersionLine]) -> list[str]:
    made = []
    for box in boxes:
        troubles = [f"{c.name} {c.why}" for c in box.chips if c.why]
        made.append(f"{box.title}: {box.note}.{' ' if troubles else ''}{'; '.join(troubles)}")
    for line in shown:
        seen = line.figures.observed
        observed = "observed share unknown" if seen is None else f"observed {seen:.1f} %"
        made.append(f"Traffic to {line.version.label}: desired {line.desired} %, {observed}.")
    return made


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
