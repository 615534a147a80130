"""The sample workload: a gRPC server that greets, and an HTTP client in front of it.

It is what meshui rolls out in a demonstration and in the end-to-end tests, each program a process
of its own: ``python -m echo_services.server`` and ``python -m echo_services.client``. It knows
nothing of rollouts, and never imports ``rollouts`` or Django.
"""
