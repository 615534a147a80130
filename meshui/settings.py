"""Django settings, all from the environment; ``.env.example`` documents each variable."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import environ

from meshui import env

BASE_DIR = Path(__file__).resolve().parent.parent
environ.Env.read_env(BASE_DIR / ".env")

# Where everything that is not code lives: database, logs, sockets, keys, the broker's files.
# A fake AWS for trying things out (`make up AWS=fake`): with a state of its own, so that nothing
# of it is ever asked of the real one.
AWS_FAKE = env.flag("MESHUI_AWS_FAKE", default=False)
_STATE = BASE_DIR / ".meshui" / "fake-aws" if AWS_FAKE else BASE_DIR / ".meshui"
STATE = Path(env.text("MESHUI_STATE", str(_STATE))).absolute()

# --- the original's variables
PROJECT_NAME = env.text("PROJECT_NAME", "echo")
AWS_DEFAULT_REGION = env.text("AWS_DEFAULT_REGION", "")
AWS_FAKE_PORT = env.number("MESHUI_AWS_FAKE_PORT", 15055, 1, 65535)
# Replaces AWS itself; every page says so.
AWS_ENDPOINT_URL = env.text(
    "AWS_ENDPOINT_URL", f"http://127.0.0.1:{AWS_FAKE_PORT}" if AWS_FAKE else ""
)
if AWS_ENDPOINT_URL and not AWS_ENDPOINT_URL.startswith(("http://", "https://")):
    env.MISTAKES.append("AWS_ENDPOINT_URL must start with http:// or https://.")
AWS_ACCOUNT_ID = env.text("AWS_ACCOUNT_ID", "")
ENVOY_IMAGE = env.text("ENVOY_IMAGE", "")
KEY_PAIR = env.text("KEY_PAIR", "")
if AWS_ACCOUNT_ID and not (AWS_ACCOUNT_ID.isdigit() and len(AWS_ACCOUNT_ID) == 12):
    env.MISTAKES.append("AWS_ACCOUNT_ID must be 12 digits.")

# --- addresses of the embedded stack (loopback by default)
BIND = env.text("MESHUI_BIND", "127.0.0.1")
# How a person on this machine says it.
SHOWN_HOST = "127.0.0.1" if BIND in ("0.0.0.0", "::") else BIND  # noqa: S104
WEB_PORT = env.number("MESHUI_PORT", 8000, 1, 65535)
PUBLIC_PORT = env.number("MESHUI_PUBLIC_PORT", 8080, 1, 65535)
EGRESS_PORT = env.number("MESHUI_EGRESS_PORT", 9000, 1, 65535)
ENVOY_ADMIN_PORT = env.number("MESHUI_ENVOY_ADMIN_PORT", 9901, 1, 65535)
XDS_PORT = env.number("MESHUI_XDS_PORT", 18000, 1, 65535)
XDS_TLS_PORT = env.number("MESHUI_XDS_TLS_PORT", 18001, 1, 65535)
BROKER_PORT = env.number("MESHUI_BROKER_PORT", 16379, 1, 65535)
CONTROL_PLANE = env.text("MESHUI_CONTROL_PLANE", f"127.0.0.1:{XDS_PORT}")
# For Envoys elsewhere: by TLS, and only with a certificate of ours.
XDS_TLS_ADDRESS = env.text(
    "MESHUI_XDS_TLS_ADDRESS", f"127.0.0.1:{XDS_TLS_PORT}" if AWS_FAKE else ""
)
if XDS_TLS_ADDRESS and not XDS_TLS_ADDRESS.rpartition(":")[2].isdigit():
    env.MISTAKES.append("MESHUI_XDS_TLS_ADDRESS must be host:port.")
XDS_NAMES = env.words("MESHUI_XDS_NAMES", "localhost,127.0.0.1")
PKI_DIR = Path(env.text("MESHUI_PKI_DIR", str(STATE / "pki"))).absolute()
SUPERVISOR_SOCKET = STATE / "supervisor.sock"
ENVIRONMENT_NAME = env.text("MESHUI_ENVIRONMENT", "fake AWS" if AWS_FAKE else "local")
SAMPLE_KEEP = env.number("MESHUI_SAMPLE_KEEP", 2000, 100, 1_000_000)
BUCKET_KEEP_S = env.number("MESHUI_BUCKET_KEEP_HOURS", 24, 1, 24 * 90) * 3600

# --- builds of images; only the worker of the queue "build" ever opens this engine
DOCKER_HOST = env.text("MESHUI_DOCKER_HOST", "")
if DOCKER_HOST and not DOCKER_HOST.startswith(("unix:///", "tcp://127.0.0.1:", "tcp://[::1]:")):
    env.MISTAKES.append("MESHUI_DOCKER_HOST must be unix:///… or tcp://127.0.0.1:<port>.")
REGISTRY = env.text("MESHUI_REGISTRY", "")
if "/" in REGISTRY:
    env.MISTAKES.append("MESHUI_REGISTRY must be a host and port, as in 127.0.0.1:5000.")
BUILD_BASE_IMAGE = env.text("MESHUI_BUILD_BASE_IMAGE", "")
BUILD_SECONDS = env.number("MESHUI_BUILD_SECONDS", 1200, 10, 24 * 3600)
BUILD_MEMORY_MB = env.number("MESHUI_BUILD_MEMORY_MB", 2048, 64, 1_000_000)

# --- Django
SECRET_KEY = env.secret_key(STATE)
DEBUG = env.flag("MESHUI_DEBUG", default=False)
ALLOWED_HOSTS = env.words("MESHUI_ALLOWED_HOSTS", f"127.0.0.1,localhost,[::1],{BIND}")
HTTPS = env.flag("MESHUI_HTTPS", default=False)
CSRF_TRUSTED_ORIGINS = env.words("MESHUI_TRUSTED_ORIGINS", "")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "servestatic.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_htmx",
    "rollouts",
]
MIDDLEWARE = [
    "rollouts.web.request_id.RequestId",
    "django.middleware.security.SecurityMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "django.middleware.gzip.GZipMiddleware",
    "rollouts.web.csp.ContentSecurityPolicy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]
ROOT_URLCONF = "meshui.urls"
ASGI_APPLICATION = "meshui.asgi.application"
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "rollouts.web.context.page",
            ]
        },
    }
]
DATABASES: dict[str, dict[str, Any]] = {
    "default": env.database(f"sqlite:///{STATE / 'meshui.sqlite3'}")
}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # IMMEDIATE: a transaction that reads first and writes later must not fail with "locked".
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": (
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
            "PRAGMA journal_size_limit=67108864; PRAGMA cache_size=-20000;"
        ),
    }
    DATABASES["default"]["CONN_MAX_AGE"] = None
    # A file in tests too: SQLite's shared memory does not wait for locks, it fails at once.
    DATABASES["default"]["TEST"] = {"NAME": str(STATE / f"test-{os.getpid()}.sqlite3")}
LANGUAGE_CODE = "en-gb"
FORMAT_MODULE_PATH = "meshui.formats"
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "/static/"
STATIC_ROOT = STATE / "static"
TESTING = "pytest" in sys.modules
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG or TESTING
        else "servestatic.storage.CompressedManifestStaticFilesStorage"
    },
}
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "services"
LOGOUT_REDIRECT_URL = "login"
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 10},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
if TESTING:  # the real hasher takes 0.3 s on purpose; nothing is collected for tests
    STATIC_ROOT.mkdir(parents=True, exist_ok=True)
    PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
SESSION_COOKIE_AGE = 14 * 24 * 3600
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_SSL_REDIRECT = False  # the proxy in front does it
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 1_000_000
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Celery: the broker only rings the bell, the database holds the news
BROKER_URL = env.text("BROKER_URL", f"redis://127.0.0.1:{BROKER_PORT}/0")
if not BROKER_URL.startswith(("redis://", "rediss://", "memory://")):
    env.MISTAKES.append("BROKER_URL must start with redis:// or rediss://.")
if TESTING:  # tests never ring somebody's running broker
    BROKER_URL = "memory://"
CELERY_BROKER_URL = BROKER_URL
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 30,
    "unacked_restore_interval": 1,
    "unacked_restore_throttle": 1,
    "unacked_mutex_expire": 5,
}
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 4
# Builds run for minutes, and beside an engine: in a worker of their own.
CELERY_TASK_ROUTES = {"rollouts.build": {"queue": "build"}}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BEAT_SCHEDULE_FILENAME = str(STATE / "beat-schedule")
CELERY_BEAT_SCHEDULE = {
    "tick": {"task": "rollouts.tick", "schedule": 0.5, "options": {"expires": 5}},
    "prune": {"task": "rollouts.prune", "schedule": 60.0, "options": {"expires": 60}},
}

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {
        "handlers": ["console"],
        "level": env.choice("MESHUI_LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR")),
    },
}
SILENCED_SYSTEM_CHECKS = (
    [] if HTTPS else ["security.W004", "security.W008", "security.W012", "security.W016"]
)
