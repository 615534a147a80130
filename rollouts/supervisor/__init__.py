"""The one supervising process of a local install: it starts, watches and ends every other one.

`manage.py up` calls `supervisor.run`; everybody else talks to it over its unix socket, through
`client.SupervisorClient`. Nothing in here knows Django, rollouts or meshes.
"""
