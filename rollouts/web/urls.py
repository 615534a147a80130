"""Every URL of the dashboard."""

from django.urls import path

urlpatterns: list[object] = []
