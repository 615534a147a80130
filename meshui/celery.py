"""The Celery application. Tasks are doors in ``rollouts.tasks``; nothing else imports Celery."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "meshui.settings")
app = Celery("meshui")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
