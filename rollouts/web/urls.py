"""Every URL of the dashboard."""

from django.urls import path

from rollouts.web import deploy, infrastructure, services

urlpatterns = [
    path("services/add/", services.add, name="service-add"),
    path("services/<slug:slug>/", services.service, name="service"),
    path("services/<slug:slug>/edit/", services.edit, name="service-edit"),
    path("services/<slug:slug>/automatic/", services.automatic, name="automatic"),
    path("services/<slug:slug>/deploy/", deploy.deploy, name="deploy"),
    path("services/<slug:slug>/deploy/plan/", deploy.plan, name="plan"),
    path("services/<slug:slug>/versions/add/", services.version_add, name="version-add"),
    path(
        "services/<slug:slug>/versions/<int:number>/<slug:verb>/",
        services.version_act,
        name="version-act",
    ),
    path("infrastructure/", infrastructure.infrastructure, name="infrastructure"),
    path("infrastructure/stacks/<slug:name>/", infrastructure.stack, name="stack"),
    path(
        "infrastructure/stacks/<slug:name>/create/",
        infrastructure.stack_create,
        name="stack-create",
    ),
    path(
        "infrastructure/stacks/<slug:name>/delete/",
        infrastructure.stack_delete,
        name="stack-delete",
    ),
]
