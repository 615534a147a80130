"""Every URL of the dashboard."""


urlpatterns: list[object] = []
