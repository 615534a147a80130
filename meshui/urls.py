"""URLs: the pages of ``rollouts.web`` and Django's admin."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [path("admin/", admin.site.urls), path("", include("rollouts.web.urls"))]
