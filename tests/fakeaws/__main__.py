"""``python -m tests.fakeaws --port N [--run-tasks]``: the fake AWS as a process on loopback.

Prints one line when it is ready and ends on SIGTERM or Ctrl-C. With ``--run-tasks`` the containers
of tasks are real processes on addresses of 127.77.0.0/16.
"""

from __future__ import annotations

import argparse
import signal
import threading

from tests.fakeaws import world
from tests.fakeaws.server import Server

TICK_S = 0.1


def main() -> None:
    asked = argparse.ArgumentParser(prog="fakeaws", description=__doc__)
    asked.add_argument("--port", type=int, default=0, help="0 picks a free one")
    asked.add_argument("--run-tasks", action="store_true", help="run containers as processes")
    options = asked.parse_args()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    world.read_speeds(task=1.0, stack=0.3)
    plane = None
    if options.run_tasks:
        from tests.fakeaws.dataplane import DataPlane  # needs Envoy, which nobody else here does

        plane = DataPlane()
    server = Server(options.port)
    server.start()
    print(f"Fake AWS is ready at {server.url}", flush=True)
    while not ended.wait(TICK_S):
        world.tick()
    server.stop()
    if plane:
        plane.close()


if __name__ == "__main__":
    main()
