"""The live stream: the bell that says "look again", and the hub that tells every open page.

``ring`` is called by ticks, actions, the sampler and the control plane; the hub runs in the web
process and is used by ``web.stream``. The database holds the news, the broker only rings: with the
broker dead the hub looks every half second. Nothing here writes a row or decides anything.
"""

from rollouts.live.bell import ring

__all__ = ["ring"]
