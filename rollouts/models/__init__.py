"""The nouns. Rows' rules live on their QuerySets; every column has one writer.

Columns marked *wish* are written by ``actions`` only, those marked *machine* by ``reconcile`` only.
"""

from rollouts.models.build import Build, BuildLine
from rollouts.models.facts import Acknowledgement, Event, Heartbeat, Proxy, Task
from rollouts.models.lock import Lock
from rollouts.models.mesh import Mesh, Stack, StackEvent
from rollouts.models.rollout import Rollout, Route, StepRecord
from rollouts.models.service import Service, Version, json_weights
from rollouts.models.traffic import Sample, TrafficBucket

__all__ = [
    "Acknowledgement",
    "Build",
    "BuildLine",
    "Event",
    "Heartbeat",
    "Lock",
    "Mesh",
    "Proxy",
    "Rollout",
    "Route",
    "Sample",
    "Service",
    "Stack",
    "StackEvent",
    "StepRecord",
    "Task",
    "TrafficBucket",
    "Version",
    "json_weights",
]
