"""A fake AWS: moto's server plus what moto lacks or fakes. For tests and for ``make up AWS=fake``.

How its modules fit together, for those who add one:

* ``world``: the one lock, the clock of life cycles, ``on_tick`` and ``on_reset``. Every AWS call runs
  under ``world.LOCK`` after ``world.tick()``, so a module needs neither a thread nor a lock.
* ``server``: starts it, in this process (tests) or as one (``python -m tests.fakeaws``). It calls
  ``install()`` of each module that it names; ``install`` patches moto and may be called twice.
* ``control``: POST /meshui-fake/<verb>, and ``Fake``, its client. ``@control.verb("name")`` adds one.
* ``inject``, ``calls``: failures on purpose, and what was called.
* ``ecs`` and ``lifecycle``: task sets, services and their tasks. A RUNNING task is announced to
  ``lifecycle.on_task`` callbacks as ("running", task), one that begins to stop as ("stopping", task).

It shows that our code does what we think AWS does. It is no proof about AWS.
"""
