"""Celery doors: read the clock, call one function. A lost or doubled message changes nothing."""

from celery import shared_task

from rollouts import clock, provision, reconcile


@shared_task(name="rollouts.tick")
def tick() -> None:
    """Twice a second, from beat: whatever is due. A stack waits for its services, so they first."""
    at = clock.moment()
    reconcile.beat("worker", at)
    reconcile.tick_due(at)
    if provision.tick_due(clock.moment()):
        reconcile.tick_due(clock.moment())  # the services that a stack has made just now


@shared_task(name="rollouts.prune")
def prune() -> None:
    """Every minute, from beat: forget samples and buckets that are older than the retention."""
    from rollouts.sampler import store

    store.prune(clock.moment().now)
