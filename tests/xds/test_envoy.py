"""What a real Envoy does with what the control plane says."""

import pytest

from tests.xds.shop import NEW, OLD

pytestmark = pytest.mark.envoy


async def test_weights_0_50_100_are_exact(world):
    await world.backends()
    envoy = world.envoy()
    envoy.start(world.port)
    await envoy.ready()
    caller = world.caller()
    assert (await caller.many(200)).answers == {OLD: 200}
    assert await world.shift(50, 50) == []
    half = await caller.many(1000)
    assert not half.failures
    assert 420 <= half.answers[NEW] <= 580
    assert await world.shift(0, 100) == []
    assert (await caller.many(200)).answers == {NEW: 200}
