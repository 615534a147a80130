"""Load balancers that refuse what AWS refuses, and targets whose health takes time.

``install()`` is called by the server before it starts; whoever gives containers a real network
calls ``set_balancers`` and ``set_probe``. Registering is moto's own ``register_targets`` and
``deregister_targets``, or ``register`` and ``deregister`` here, which find the backend by the ARN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from moto.elb.models import register_certificate
from moto.elbv2 import models
from moto.elbv2.exceptions import ELBClientError, TargetGroupNotFoundError
from moto.elbv2.models import (
    ELBv2Backend,
    FakeHealthStatus,
    FakeLoadBalancer,
    FakeTargetGroup,
    elbv2_backends,
)

from tests.fakeaws import world

WEIGHTS = range(1000)
GROUPS_AN_ACTION = 5
# In task stages (world.speeds.task): how long health is unknown, and a target drains at most.
INITIAL_STAGES = 2
DRAIN_STAGES = 10

Probe = Callable[[str, int], bool]
Opened = Callable[[str, str], str | None]
Closed = Callable[[str], None]
Target = tuple[str, int, int]  # address, port, weight of its group

_probe: list[Probe] = []
_hooks: list[tuple[Opened, Closed]] = []


def set_probe(probe: Probe | None) -> None:
    """Have ``probe(address, port)`` say whether a target answers; None: every target does."""
    _probe[:] = [probe] if probe else []


def set_balancers(opened: Opened | None, closed: Closed | None = None) -> None:
    """Have ``opened(arn, scheme)`` give a new load balancer's DNSName (None: AWS's own form), and
    ``closed(arn)`` called when it is deleted.
    """
    _hooks[:] = [(opened, closed or (lambda arn: None))] if opened else []


def _error(code: str, message: str) -> ELBClientError:
    return ELBClientError(code, message)


def _backend_of(arn: str) -> ELBv2Backend:
    region, account = arn.split(":")[3:5]
    backend: ELBv2Backend = elbv2_backends[account][region]
    return backend


def register(target_group_arn: str, ip: str, port: int) -> None:
    """Make an address a target: ``initial`` at first, ``healthy`` later."""
    target = [{"Id": ip, "Port": port}]
    _backend_of(target_group_arn).register_targets(target_group_arn, target)


def deregister(target_group_arn: str, ip: str, port: int) -> None:
    """Let a target drain, and forget it then."""
    target = [{"Id": ip, "Port": port}]
    _backend_of(target_group_arn).deregister_targets(target_group_arn, target)


# --- who uses which group


def _groups(actions: Iterable[Any]) -> Iterator[tuple[str, int]]:
    """(ARN, weight) of each target group that actions forward to."""
    for action in actions:
        data = action if isinstance(action, dict) else action.data
        config = data.get("ForwardConfig") or {}
        for group in config.get("TargetGroups", []):
            yield group["TargetGroupArn"], int(group.get("Weight", 1))
        if "TargetGroupArn" in data and not config.get("TargetGroups"):
            yield data["TargetGroupArn"], 1


def _note_use(backend: ELBv2Backend) -> None:
    """Bring every group's list of load balancers up to date, and since when it has one."""
    used: dict[str, list[str]] = {}
    for balancer in backend.load_balancers.values():
        for listener in balancer.listeners.values():
            for rule in listener.rules.values():
                for arn, _weight in _groups(rule.actions):
                    used.setdefault(arn, []).append(balancer.arn)
    for arn, group in backend.target_groups.items():
        group.load_balancer_arns = list(dict.fromkeys(used.get(arn, [])))
        since = group.__dict__.get("used_since")
        group.__dict__["used_since"] = (since or world.now()) if arn in used else None


def open_targets(load_balancer_arn: str, port: int) -> list[Target]:
    """What the listener on ``port`` sends requests to now: healthy targets of groups that weigh
    more than 0, of its first rule that forwards. Empty without such a listener.
    """
    backend = _backend_of(load_balancer_arn)
    balancer = backend.load_balancers.get(load_balancer_arn)
    listeners = balancer.listeners.values() if balancer else []
    for listener in listeners:
        if int(listener.port) != port:
            continue
        for rule in listener.rules.values():
            groups = list(_groups(rule.actions))
            if groups:
                return _healthy(backend, groups)
    return []


def _healthy(backend: ELBv2Backend, groups: list[tuple[str, int]]) -> list[Target]:
    return [
        (target["Id"], int(target["Port"]), weight)
        for arn, weight in groups
        if weight and arn in backend.target_groups
        for target in backend.target_groups[arn].targets.values()
        if _health(backend.target_groups[arn], target)[0] == "healthy"
    ]


# --- health


def _key(target: dict[str, Any], group: FakeTargetGroup) -> str:
    return f"{target['Id']}:{target.get('Port', group.port)}"


def _register(self: FakeTargetGroup, targets: list[dict[str, Any]]) -> None:
    for target in targets:
        key = _key(target, self)
        known = self.targets.get(key)
        since = known["since"] if known else world.now()
        port = target.get("Port", self.port)
        self.targets[key] = {"Id": target["Id"], "Port": port, "since": since}
        self.deregistered_targets.pop(key, None)


def _deregister(self: FakeTargetGroup, targets: list[dict[str, Any]]) -> None:
    for target in targets:
        left = self.targets.pop(_key(target, self), None)
        if left is not None:  # that it was no target is fine, as in AWS
            self.deregistered_targets[_key(target, self)] = {**left, "since": world.now()}


def _health(group: FakeTargetGroup, target: dict[str, Any]) -> tuple[str, str | None]:
    """State of a registered target, and the reason when it isn't healthy."""
    used_since = group.__dict__.get("used_since")
    if used_since is None:
        return "unused", "Target.NotInUse"
    known_for = world.now() - max(used_since, target["since"])
    if known_for < INITIAL_STAGES * world.speeds.task:
        return "initial", "Elb.RegistrationInProgress"
    if _probe and not _probe[0](target["Id"], int(target["Port"])):
        return "unhealthy", "Target.FailedHealthChecks"
    return "healthy", None


SENTENCES = {
    "Target.NotInUse": "Target group is not configured to receive traffic from the load balancer",
    "Elb.RegistrationInProgress": "Target registration is in progress",
    "Target.FailedHealthChecks": "Health checks failed",
    "Target.DeregistrationInProgress": "Target deregistration is in progress",
    "Target.NotRegistered": "Target is not registered to the target group",
}


def _drain_s(group: FakeTargetGroup) -> float:
    delay = float(str(group.attributes["deregistration_delay.timeout_seconds"]))
    return min(delay, DRAIN_STAGES * world.speeds.task)


def _describe_health(
    self: ELBv2Backend, target_group_arn: str, targets: list[dict[str, Any]]
) -> list[FakeHealthStatus]:
    group = self.target_groups.get(target_group_arn)
    if group is None:
        raise TargetGroupNotFoundError()
    _forget_drained(group)
    asked = targets or [*group.targets.values(), *group.deregistered_targets.values()]
    return [_status(group, target) for target in asked]


def _forget_drained(group: FakeTargetGroup) -> None:
    for key, target in list(group.deregistered_targets.items()):
        if world.now() - target["since"] >= _drain_s(group):
            del group.deregistered_targets[key]


def _status(group: FakeTargetGroup, target: dict[str, Any]) -> FakeHealthStatus:
    key = _key(target, group)
    state, reason = "unused", "Target.NotRegistered"
    if key in group.targets:
        state, found = _health(group, group.targets[key])
        reason = found or ""
    elif key in group.deregistered_targets:
        state, reason = "draining", "Target.DeregistrationInProgress"
    port = str(target.get("Port", group.port))
    said = SENTENCES.get(reason)
    return FakeHealthStatus(target["Id"], port, port, state, reason or None, said)


# --- refusals


def _check_actions(self: ELBv2Backend, protocol: str, actions: Iterable[dict[str, Any]]) -> None:
    for action in actions:
        groups = list(_groups([action]))
        if len(groups) > GROUPS_AN_ACTION:
            raise _error(
                "TooManyUniqueTargetGroupsPerLoadBalancer",
                f"A forward action takes at most {GROUPS_AN_ACTION} target groups",
            )
        for arn, weight in groups:
            if weight not in WEIGHTS:
                raise _error(
                    "ValidationError",
                    f"1 validation error detected: Value '{weight}' at 'weight' failed to satisfy "
                    "constraint: Member must have value between 0 and 999",
                )
            group = self.target_groups.get(arn)
            if group is not None and group.protocol_version == "GRPC" and protocol != "HTTPS":
                raise _error(
                    "InvalidConfigurationRequest",
                    f"Listener protocol '{protocol}' is not supported with a target group with "
                    "the protocol-version 'GRPC'",
                )


def _check_owner(self: ELBv2Backend, balancer: str, actions: Iterable[dict[str, Any]]) -> None:
    """A target group belongs to one load balancer at most."""
    _note_use(self)
    for arn, _weight in _groups(actions):
        group = self.target_groups.get(arn)
        if group is not None and set(group.load_balancer_arns) - {balancer}:
            raise _error(
                "TargetGroupAssociationLimit",
                f"The following target groups cannot be associated with more than one load "
                f"balancer: {arn}",
            )


def _listener_of(self: ELBv2Backend, arn: str) -> Any:
    """The listener with this ARN, or the one of the rule with this ARN; None if there is none."""
    for balancer in self.load_balancers.values():
        for listener in balancer.listeners.values():
            if listener.arn == arn or any(rule.arn == arn for rule in listener.rules.values()):
                return listener
    return None


def _certificate_exists(self: ELBv2Backend, certificate_arn: str) -> bool:
    """Certificates whose id begins with ``fake`` always exist, so that nobody must make one."""
    if certificate_arn.rsplit("/", 1)[-1].startswith("fake"):
        return True
    return bool(_ORIGINALS["_certificate_exists"](self, certificate_arn))


def _register_certificate(
    account_id: str, region: str, arn_certificate: str, arn_user: str
) -> None:
    if not arn_certificate.rsplit("/", 1)[-1].startswith("fake"):
        register_certificate(account_id, region, arn_certificate, arn_user)


def _create_load_balancer(self: ELBv2Backend, *args: Any, **kwargs: Any) -> FakeLoadBalancer:
    balancer: FakeLoadBalancer = _ORIGINALS["create_load_balancer"](self, *args, **kwargs)
    for opened, _closed in _hooks:
        balancer.dns_name = opened(balancer.arn, balancer.scheme) or balancer.dns_name
    return balancer


def _delete_load_balancer(self: ELBv2Backend, arn: str) -> None:
    balancer = self.load_balancers.get(arn)
    if balancer is not None and str(balancer.attrs.get("deletion_protection.enabled")) == "true":
        raise _error(
            "OperationNotPermitted",
            f"Load balancer '{arn}' cannot be deleted because deletion protection is enabled",
        )
    _ORIGINALS["delete_load_balancer"](self, arn)
    if balancer is not None:
        for _opened, closed in _hooks:
            closed(arn)
    _note_use(self)


def _create_listener(self: ELBv2Backend, **kwargs: Any) -> Any:
    if kwargs.get("protocol") == "HTTPS" and not kwargs.get("certificate"):
        raise _error("ValidationError", "A certificate must be specified for HTTPS listeners")
    _check_actions(self, str(kwargs.get("protocol")), kwargs["actions"])
    _check_owner(self, kwargs["load_balancer_arn"], kwargs["actions"])
    listener = _ORIGINALS["create_listener"](self, **kwargs)
    _note_use(self)
    return listener


def _modify_listener(self: ELBv2Backend, arn: str, **kwargs: Any) -> Any:
    listener = _listener_of(self, arn)
    if listener is not None:
        protocol = kwargs.get("protocol") or listener.protocol
        _check_actions(self, protocol, kwargs.get("actions") or [])
        _check_owner(self, listener.load_balancer_arn, kwargs.get("actions") or [])
    changed = _ORIGINALS["modify_listener"](self, arn, **kwargs)
    _note_use(self)
    return changed


def _create_rule(self: ELBv2Backend, **kwargs: Any) -> Any:
    listener = _listener_of(self, kwargs["listener_arn"])
    if listener is not None:
        _check_actions(self, listener.protocol, kwargs["actions"])
        _check_owner(self, listener.load_balancer_arn, kwargs["actions"])
    rule = _ORIGINALS["create_rule"](self, **kwargs)
    _note_use(self)
    return rule


def _modify_rule(self: ELBv2Backend, **kwargs: Any) -> Any:
    listener = _listener_of(self, kwargs["rule_arn"])
    if listener is not None:
        _check_actions(self, listener.protocol, kwargs.get("actions") or [])
        _check_owner(self, listener.load_balancer_arn, kwargs.get("actions") or [])
    rule = _ORIGINALS["modify_rule"](self, **kwargs)
    _note_use(self)
    return rule


def _delete_rule(self: ELBv2Backend, arn: str) -> None:
    _ORIGINALS["delete_rule"](self, arn)
    _note_use(self)


def _delete_listener(self: ELBv2Backend, listener_arn: str) -> Any:
    listener = _ORIGINALS["delete_listener"](self, listener_arn)
    _note_use(self)
    return listener


_ORIGINALS: dict[str, Callable[..., Any]] = {}
_BACKEND: dict[str, Callable[..., Any]] = {
    "create_load_balancer": _create_load_balancer,
    "delete_load_balancer": _delete_load_balancer,
    "create_listener": _create_listener,
    "modify_listener": _modify_listener,
    "delete_listener": _delete_listener,
    "create_rule": _create_rule,
    "modify_rule": _modify_rule,
    "delete_rule": _delete_rule,
    "describe_target_health": _describe_health,
    "_certificate_exists": _certificate_exists,
}


def install() -> None:
    """Patch moto's load balancers. Harmless when repeated."""
    if _ORIGINALS:
        return
    for name, method in _BACKEND.items():
        _ORIGINALS[name] = getattr(ELBv2Backend, name)
        setattr(ELBv2Backend, name, method)
    models.__dict__["register_certificate"] = _register_certificate
    FakeTargetGroup.register = _register  # type: ignore[method-assign]
    FakeTargetGroup.deregister = _deregister  # type: ignore[method-assign]
