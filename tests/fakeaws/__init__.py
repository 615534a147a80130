"""A fake AWS: moto's server plus what moto lacks or fakes. For tests and for ``make up AWS=fake``.

How its modules fit together, for those who add one:

* ``world``: the one lock, the clock of life cycles, ``on_tick`` and ``on_reset``. Every AWS call
  runs under ``world.LOCK`` after ``world.tick()``: a module needs neither a thread nor a lock.
* ``server``: starts it, in this process (tests) or as one (``python -m tests.fakeaws``). It calls
  ``install()`` of each module that it names; ``install`` patches moto and may be called twice.
* ``control``: POST /meshui-fake/<verb>, and ``Fake``, its client. ``@control.verb`` adds one.
* ``inject``, ``calls``: failures on purpose, and what was called.
* ``ecs*``, ``scheduler`` and ``lifecycle``: task sets, services and their tasks. Those who asked
  by ``lifecycle.on_task`` hear ("running", task), ("healthy", task), then ("stopping", task).

It shows that our code does what we think AWS does. It is no proof about AWS.
"""
