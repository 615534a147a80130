"""URLs: the pages of ``rollouts.web`` and Django's admin."""

from django.contrib import admin
from django.urls import include, path

handler403 = "rollouts.web.failures.forbidden"
handler404 = "rollouts.web.failures.not_found"
handler500 = "rollouts.web.failures.broken"
urlpatterns = [path("admin/", admin.site.urls), path("", include("rollouts.web.urls"))]
