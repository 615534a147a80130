"""The settings of a service in words, as its page shows them. Pure."""

from __future__ import annotations

from rollouts.domain.plan import PRESETS
from rollouts.models import Service
from rollouts.web.preview import duration


def settings_of(found: Service) -> list[tuple[str, str]]:
    """The settings as label and sentence, in the order of the form."""
    plan = PRESETS[found.default_plan].name if found.default_plan in PRESETS else found.default_plan
    path = found.health_path if found.health_kind == "http" else ""
    health = f"{found.get_health_kind_display()} {path}".strip()
    sampler = f"{found.sample_rate:g} a second of {found.sample_path}"
    return [
        ("Host name", found.name),
        ("Protocol", found.get_protocol_display()),
        ("Public path", found.public_prefix or "none: other services call it"),
        ("Tasks", str(found.tasks)),
        ("Health check", health),
        ("Request time-out", f"{found.timeout_s:g} s"),
        ("Calls may be repeated", "yes" if found.idempotent else "no"),
        ("Sampler", sampler if found.sample_path and found.sample_rate else "off"),
        ("Default plan", plan),
        ("Start deadline", duration(found.start_deadline_s)),
        ("Old version kept for", duration(found.scale_down_delay_s)),
        ("Rolled back version kept for", duration(found.abort_delay_s)),
        ("Drain", duration(found.drain_s)),
        ("Kept warm, at most", str(found.keep_warm)),
    ]
