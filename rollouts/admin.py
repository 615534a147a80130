"""Django's admin: every row to look at, the settings of meshes and services to change.

What machines write is read-only. The Rollback button asks through the same door as the dashboard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html

from rollouts import actions, doors, models
from rollouts.errors import ActionRefused, InvalidInput
from rollouts.web.asks import ask, new_request_id, what_is_now

# Generic for the type checker only: Django's class is not.
if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin

admin.site.site_header = "meshui"
admin.site.site_title = "meshui admin"
admin.site.index_title = "Rows"


class ReadOnly(ModelAdmin):
    """Rows that machines write: looked at, never added, changed or deleted here."""

    list_per_page = 50
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(models.Mesh)
class MeshAdmin(ModelAdmin):
    list_display = ("name", "slug", "platform", "router", "production", "public_url")
    search_fields = ("name", "slug")
    readonly_fields = ("public_url", "created_at")


@admin.register(models.Stack)
class StackAdmin(ModelAdmin):
    list_display = ("name", "mesh", "kind", "wanted", "phase", "done", "total")
    list_filter = ("phase", "kind")
    search_fields = ("name",)
    list_select_related = ("mesh",)
    fields = ("mesh", "name", "kind", "wanted", "phase", "step", "done", "total", "reason")
    readonly_fields = ("wanted", "phase", "step", "done", "total", "reason")

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        gone = not isinstance(obj, models.Stack) or obj.phase == "absent"
        return gone and super().has_delete_permission(request, obj)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """None: the bulk delete would not look at the phase of each stack."""
        return {}


@admin.register(models.Service)
class ServiceAdmin(ModelAdmin):
    """Settings. Deploys, weights and the switch for automatic deploys are on the dashboard."""

    list_display = ("slug", "name", "mesh", "protocol", "stable", "automatic_deploys", "alarm")
    list_filter = ("mesh", "protocol", "automatic_deploys")
    search_fields = ("slug", "name")
    list_select_related = ("mesh", "stable")
    readonly_fields = [
        "automatic_deploys",
        "automatic_why",
        "stable",
        "weights",
        "generation",
        "alarm",
        "waiting",
        "ticks",
        "clock_wall",
        "clock_mono",
        "clock_boot",
        "wake_at",
        "lease_until",
        "created_at",
    ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """The form of the dashboard makes a service together with its first version."""
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [*self.readonly_fields, "mesh", "slug"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Settings need what they need on the dashboard as well."""
        return (
            super().has_change_permission(request, obj)
            and isinstance(request.user, User)
            and request.user.has_perm("rollouts.operate_service")
        )

    def save_model(
        self, request: HttpRequest, obj: models.Service, form: Any, change: bool
    ) -> None:
        """Write the changed settings only: ticks write other columns of the same row."""
        fields = {name: form.cleaned_data[name] for name in form.changed_data}
        try:
            asked = ask(request, timezone.now(), source="admin")
            stored = models.Service.objects.get(pk=obj.pk)
            doors.act(actions.change_service, stored, fields, ask=asked)
        except (ActionRefused, InvalidInput) as error:
            messages.error(request, f"Nothing was changed. {error}")

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """None: the bulk delete would not ask whether a rollout is live."""
        return {}

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Refuse while a rollout is live, whose traffic nobody would bring back (I22)."""
        found = self.get_object(request, object_id)
        live = found.live_rollout() if found else None
        if found and live:
            sentence = (
                f"{found.slug} cannot be deleted: rollout #{live.pk} to {live.to_version.label} is "
                "in progress. Promote it or roll it back first."
            )
            messages.error(request, sentence)
            return redirect("admin:rollouts_service_change", found.pk)
        return super().delete_view(request, object_id, extra_context)


@admin.register(models.Version)
class VersionAdmin(ReadOnly):
    list_display = ("label", "service", "number", "digest", "count", "created_by", "created_at")
    list_filter = ("service",)
    search_fields = ("label", "digest", "service__slug")
    list_select_related = ("service", "created_by")
    date_hierarchy = "created_at"


@admin.register(models.Rollout)
class RolloutAdmin(ReadOnly):
    list_display = ("id", "service", "to_version", "phase", "started_by", "created_at", "undo")
    list_filter = ("phase", "service", "kind")
    search_fields = ("service__slug", "to_version__label", "note", "reason")
    list_select_related = ("service", "to_version", "started_by")
    date_hierarchy = "created_at"
    change_form_template = "admin/rollouts/rollout/change_form.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        self._may_undo = may_undo(request)  # read by undo() in the same request's list
        return super().get_queryset(request)

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("<int:pk>/rollback/", wrap(self.rollback), name="rollouts_rollout_rollback"),
            path("<int:pk>/status/", wrap(self.status), name="rollouts_rollout_status"),
            *super().get_urls(),
        ]

    @admin.display(description="Rollback")
    def undo(self, rollout: models.Rollout) -> str:
        if not rollout.is_live or not getattr(self, "_may_undo", False):
            return "—"
        url = reverse("admin:rollouts_rollout_rollback", args=[rollout.pk])
        return format_html('<a class="undo" href="{}">Roll back #{}</a>', url, rollout.pk)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        extra = {**(extra_context or {}), "may_undo": may_undo(request)}
        return super().change_view(request, object_id, form_url, extra)

    def status(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The live line of the change page, polled every 4 seconds."""
        rollout = self._rollout(request, pk)
        return TemplateResponse(
            request,
            "admin/rollouts/rollout/status.html",
            {"original": rollout, "now": now(rollout)},
        )

    def rollback(self, request: HttpRequest, pk: int) -> HttpResponse:
        """GET asks with a reason, POST does."""
        rollout = self._rollout(request, pk)
        if not may_undo(request):
            raise PermissionDenied
        if request.method == "POST":
            return self._roll_back(request, rollout)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Roll back {rollout.service.slug}",
            "original": rollout,
            "opts": self.opts,
            "now": now(rollout),
            "request_id": new_request_id(),
        }
        return TemplateResponse(request, "admin/rollouts/rollout/rollback.html", context)

    def _rollout(self, request: HttpRequest, pk: int) -> models.Rollout:
        if not self.has_view_permission(request):
            raise PermissionDenied
        rows = models.Rollout.objects.select_related("service", "to_version", "from_version")
        return get_object_or_404(rows, pk=pk)

    def _roll_back(self, request: HttpRequest, rollout: models.Rollout) -> HttpResponseRedirect:
        back = redirect("admin:rollouts_rollout_change", rollout.pk)
        try:
            asked = ask(request, timezone.now(), source="admin")
            doors.act(actions.request_rollback, rollout, ask=asked)
        except ActionRefused as error:
            messages.warning(request, f"Nothing to do: the rollout had moved on. {error}")
            return back
        except InvalidInput as error:
            messages.error(request, str(error))
            return back
        LogEntry.objects.log_actions(
            asked.by.pk,
            [rollout],
            CHANGE,
            change_message=f"Asked for a rollback. {asked.reason}".strip(),
            single_object=True,
        )
        messages.success(request, f"Rollback of {rollout.service.slug} requested.")
        return back


def may_undo(request: HttpRequest) -> bool:
    return isinstance(request.user, User) and request.user.has_perm("rollouts.rollback_rollout")


def now(rollout: models.Rollout) -> str:
    """One sentence: what the rollout does and where the traffic is."""
    phase = rollout.phase.replace("_", " ")
    if rollout.rollback_requested_at and rollout.is_live and rollout.phase != "rolling_back":
        phase = "rollback requested"
    elif rollout.paused and rollout.is_live:
        phase = f"{phase}, paused"
    return f"{phase.capitalize()}. {what_is_now(rollout)}"


@admin.register(models.StepRecord)
class StepRecordAdmin(ReadOnly):
    list_display = ("rollout", "key", "started_at", "ended_at", "outcome")
    list_filter = ("outcome",)
    list_select_related = ("rollout__to_version",)
    date_hierarchy = "started_at"


@admin.register(models.Route)
class RouteAdmin(ReadOnly):
    list_display = ("service", "generation", "weights", "at", "confirmed_at", "actor")
    list_filter = ("service",)
    list_select_related = ("service",)
    date_hierarchy = "at"


@admin.register(models.Task)
class TaskAdmin(ReadOnly):
    list_display = ("name", "service", "version", "state", "healthy", "exits", "reason")
    list_filter = ("healthy", "state", "service")
    search_fields = ("name", "reason")
    list_select_related = ("service", "version")


@admin.register(models.Proxy)
class ProxyAdmin(ReadOnly):
    list_display = ("node", "mesh", "connected", "seen_at", "nack")
    list_filter = ("connected",)
    search_fields = ("node",)
    list_select_related = ("mesh",)


@admin.register(models.Acknowledgement)
class AcknowledgementAdmin(ReadOnly):
    list_display = ("proxy", "service", "generation", "at")
    list_filter = ("service",)
    list_select_related = ("proxy", "service")


@admin.register(models.Event)
class EventAdmin(ReadOnly):
    list_display = ("at", "actor", "source", "verb", "service", "text", "reason")
    list_filter = ("source", "severity", "verb")
    search_fields = ("actor", "text", "reason")
    list_select_related = ("service",)
    date_hierarchy = "at"


@admin.register(models.StackEvent)
class StackEventAdmin(ReadOnly):
    list_display = ("at", "stack", "resource", "kind", "status", "reason")
    list_filter = ("status", "stack")
    search_fields = ("resource", "reason")
    list_select_related = ("stack",)
    date_hierarchy = "at"


@admin.register(models.TrafficBucket)
class TrafficBucketAdmin(ReadOnly):
    list_display = ("service", "version", "source", "second", "requests", "errors")
    list_filter = ("source", "service")
    list_select_related = ("service", "version")


@admin.register(models.Sample)
class SampleAdmin(ReadOnly):
    list_display = ("at", "service", "version", "ok", "status", "latency_ms", "message")
    list_filter = ("ok", "service")
    list_select_related = ("service", "version")
    date_hierarchy = "at"


@admin.register(models.Heartbeat)
class HeartbeatAdmin(ReadOnly):
    list_display = ("name", "at", "detail")


@admin.register(models.Build)
class BuildAdmin(ReadOnly):
    list_display = ("created_at", "service", "label", "kind", "phase", "created_by", "reason")
    list_filter = ("phase", "kind", "service")
    search_fields = ("label", "image", "reason")
    list_select_related = ("service", "created_by")
    exclude = ("archive",)
    date_hierarchy = "created_at"

    def get_queryset(self, request: HttpRequest) -> QuerySet[models.Build]:
        return super().get_queryset(request).defer("archive")  # megabytes, and not shown


@admin.register(models.BuildLine)
class BuildLineAdmin(ReadOnly):
    list_display = ("build", "number", "at", "text")
    search_fields = ("text",)
    list_select_related = ("build__service",)


@admin.register(models.Lock)
class LockAdmin(ReadOnly):
    list_display = ("name", "owner", "until")
    search_fields = ("name",)
