"""Celery doors: read the clock, call one function. A lost or doubled message changes nothing."""

from celery import shared_task

from rollouts import building, clock, provision, reconcile

BUILD_EXPIRES_S = 2


@shared_task(name="rollouts.tick")
def tick() -> None:
    """Twice a second, from beat: whatever is due. A stack waits for its services, so they first."""
    at = clock.moment()
    reconcile.beat("worker", at)
    reconcile.tick_due(at)
    if provision.tick_due(clock.moment()):
        reconcile.tick_due(clock.moment())  # the services that a stack has made just now
    at = clock.moment()
    building.tick_due(at)
    for pk in building.waiting(at):
        build.apply_async((pk,), expires=BUILD_EXPIRES_S)  # sent again until a worker takes it


@shared_task(name="rollouts.build")
def build(pk: int) -> None:
    """One build from its beginning to its end, in the worker of the queue ``build``."""
    building.run(pk, clock.moment)


@shared_task(name="rollouts.prune")
def prune() -> None:
    """Every minute, from beat: forget samples and buckets that are older than the retention."""
    from rollouts.sampler import store

    store.prune(clock.moment().now)
