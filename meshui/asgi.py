"""The ASGI door: uvicorn runs ``meshui.asgi:application``."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "meshui.settings")
application = get_asgi_application()
