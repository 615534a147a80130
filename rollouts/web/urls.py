"""Every URL of the dashboard, one line each."""

from django.contrib.auth.views import LogoutView
from django.urls import path

from rollouts.web import (
    builds,
    deploy,
    history,
    images,
    infrastructure,
    meshes,
    messages,
    pages,
    rollout,
    services,
    session,
    stacks,
    stream,
)

urlpatterns = [
    path("", pages.services, name="services"),
    path("services/parts/", pages.services_parts, name="services-parts"),
    path("services/add/", services.add, name="service-add"),
    path("services/<slug:slug>/", services.service, name="service"),
    path("services/<slug:slug>/edit/", services.edit, name="service-edit"),
    path("services/<slug:slug>/automatic/", services.automatic, name="automatic"),
    path("services/<slug:slug>/messages/", messages.messages, name="messages"),
    path("services/<slug:slug>/deploy/", deploy.deploy, name="deploy"),
    path("services/<slug:slug>/deploy/plan/", deploy.plan, name="plan"),
    path("services/<slug:slug>/versions/add/", services.version_add, name="version-add"),
    path(
        "services/<slug:slug>/versions/<int:number>/<slug:verb>/",
        services.version_act,
        name="version-act",
    ),
    path("services/<slug:slug>/images/", images.listing, name="images"),
    path("services/<slug:slug>/builds/add/", images.add, name="build-add"),
    path("builds/<int:build>/", builds.build, name="build"),
    path("builds/<int:build>/log/", builds.log, name="build-log"),
    path("builds/<int:build>/cancel/", builds.cancel, name="build-cancel"),
    path("rollouts/", history.history, name="rollouts"),
    path("rollouts/<int:pk>/", rollout.page, name="rollout"),
    path("rollouts/<int:pk>/parts/", rollout.parts, name="rollout-parts"),
    path("rollouts/<int:pk>/series.json", rollout.series, name="series"),
    path("rollouts/<int:pk>/status.json", rollout.status, name="status"),
    path("rollouts/<int:pk>/split.svg", rollout.split, name="split"),
    path("rollouts/<int:pk>/report/", rollout.report, name="report"),
    path("rollouts/<int:pk>/<slug:verb>/", rollout.act, name="rollout-act"),
    path("events/", stream.events, name="events"),
    path("infrastructure/", infrastructure.infrastructure, name="infrastructure"),
    path("infrastructure/add/", meshes.add, name="mesh-add"),
    path("infrastructure/<slug:mesh>/edit/", meshes.edit, name="mesh-edit"),
    path("infrastructure/<slug:mesh>/delete/", meshes.delete, name="mesh-delete"),
    path("infrastructure/<slug:mesh>/<slug:name>/", stacks.stack, name="stack"),
    path(
        "infrastructure/<slug:mesh>/<slug:name>/create/", stacks.stack_create, name="stack-create"
    ),
    path(
        "infrastructure/<slug:mesh>/<slug:name>/delete/", stacks.stack_delete, name="stack-delete"
    ),
    path("infrastructure/<slug:mesh>/<slug:name>/<slug:verb>/", stacks.stack_act, name="stack-act"),
    path("audit/", history.audit, name="audit"),
    path("account/", session.account, name="account"),
    path("login/", session.SignIn.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("enter/<str:token>/", session.enter, name="enter"),
    path("healthz", session.healthz, name="healthz"),
]
