"""``manage.py rollout``: the command line door, for scripts and for 3 am.

``rollout status``, ``rollout deploy echo-server 1.0 --plan canary``, ``rollout rollback
echo-server``. Acts through the same actions as the pages, and needs neither broker nor worker.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from rollouts import actions, clock, doors
from rollouts.actions import Ask
from rollouts.domain.plan import PRESETS, Plan, parse
from rollouts.errors import MeshuiError
from rollouts.models import Rollout, Service

WISHES = {
    "pause": actions.request_pause,
    "resume": actions.request_resume,
    "promote-full": actions.request_promote_full,
    "rollback": actions.request_rollback,
    "abort": actions.request_abort,
}


class Command(BaseCommand):
    help = "Shows and steers rollouts."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--by", default="", help="user name; default: the first administrator")
        parser.add_argument("--reason", default="", help="why, for the timeline")
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser("status", help="every service, its weights and its live rollout")
        deploy = verbs.add_parser("deploy", help="start a rollout")
        deploy.add_argument("service")
        deploy.add_argument("version")
        deploy.add_argument("--plan", default="", help="a preset, or steps as in 5:60s,50:10m,100")
        back = verbs.add_parser("return", help="roll back after completion")
        back.add_argument("service")
        back.add_argument("version")
        for verb in ("promote", *WISHES):
            verbs.add_parser(verb).add_argument("service")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["verb"] == "status":
            self._status()
            return
        try:
            self._act(options)
        except MeshuiError as error:
            raise CommandError(str(error)) from error

    def _act(self, options: dict[str, Any]) -> None:
        service = _service(options["service"])
        ask = Ask(_user(options["by"]), "cli", clock.moment().now, options["reason"])
        verb = options["verb"]
        if verb in ("deploy", "return"):
            self._start(service, options, ask)
        elif verb == "promote":
            rollout = _live(service)
            doors.act(actions.request_promote, rollout, step=rollout.step, ask=ask)
        else:
            doors.act(WISHES[verb], _live(service), ask=ask)
        self._status(service.slug)

    def _start(self, service: Service, options: dict[str, Any], ask: Ask) -> None:
        version = service.versions.filter(label=options["version"]).first()
        if version is None:
            known = ", ".join(service.versions.values_list("label", flat=True)) or "none"
            raise CommandError(
                f"{service.slug} has no version {options['version']}; it has {known}."
            )
        if options["verb"] == "return":
            doors.act(actions.request_return, service, version, ask=ask)
            return
        name, plan = _plan(options["plan"] or service.default_plan)
        doors.act(actions.request_deploy, service, version, plan=plan, plan_name=name, ask=ask)

    def _status(self, slug: str = "") -> None:
        services = Service.objects.filter(slug=slug) if slug else Service.objects.all()
        for service in services:
            labels = {str(v.pk): v.label for v in service.versions.all()}
            split = ", ".join(f"{labels[pk]} {w} %" for pk, w in service.weights.items())
            rollout = service.rollouts.first()
            self.stdout.write(f"{service.slug:20} {split or 'no traffic':30} {_say(rollout)}")
            for sentence in filter(None, (service.alarm, service.waiting)):
                self.stdout.write(f"{'':20} {sentence}")


def _say(rollout: Rollout | None) -> str:
    if rollout is None:
        return ""
    paused = ", paused" if rollout.paused and rollout.is_live else ""
    where = f" step {rollout.step + 1} of {len(rollout.plan)}" if rollout.is_live else ""
    return f"#{rollout.pk} {rollout.phase.replace('_', ' ')}{where}{paused}"


def _service(slug: str) -> Service:
    service = Service.objects.select_related("mesh", "stable").filter(slug=slug).first()
    if service is None:
        raise CommandError(f"There is no service {slug}.")
    return service


def _live(service: Service) -> Rollout:
    rollout = service.live_rollout()
    if rollout is None:
        raise CommandError(f"No rollout of {service.slug} is running.")
    return rollout


def _user(name: str) -> User:
    people = User.objects.filter(is_active=True)
    found = people.filter(username=name) if name else people.filter(is_superuser=True)
    user = found.order_by("pk").first()
    if user is None:
        raise CommandError(
            f"There is no user {name}." if name else "There is no administrator yet."
        )
    return user


def _plan(text: str) -> tuple[str, Plan]:
    preset = PRESETS.get(text)
    return (preset.name, preset.steps) if preset else ("Custom steps", parse(text))
