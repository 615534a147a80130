"""What confirms, what stays warm, what is scaled. Stepped by hand over a fake world."""

from rollouts.domain.state import Phase, Stage
from tests.domain.starts import at_half, promoted
from tests.domain.world import Walk

# Confirmation, platform


def test_a_silent_proxy_is_not_progress_and_nothing_is_stopped():
    walk = Walk()
    walk.deploy("1.0", "50:5s, 100")
    walk.until_weight("1.0", 50)
    walk.world.confirm_after = None
    walk.world.confirmed = 0
    walk.world.lagging = ("egress-1 is silent since 9 s.", "egress-2 refused it: no such cluster.")
    walk.run(300)
    assert walk.rollout.stage is Stage.SHIFT
    assert walk.weight("1.0") == 50
    assert walk.waiting == "egress-1 is silent since 9 s. egress-2 refused it: no such cluster."
    assert walk.running("0.9") == walk.running("1.0") == 2


def test_an_unconfirmed_100_is_not_success_and_stops_nothing():
    walk = at_half("50:5s, 100", scale_down_s=0)
    walk.world.confirm_after = None
    walk.until_weight("1.0", 100)
    walk.run(300)
    assert walk.phase is Phase.PROGRESSING
    assert walk.rollout.stage is Stage.SHIFT
    assert walk.running("0.9") == 2
    walk.world.confirm_after = 1
    walk.until(Phase.SUCCEEDED, within=3)


def test_a_hold_does_not_end_while_a_proxy_has_fallen_behind():
    walk = at_half("50:5s, 100")
    walk.world.confirmed, walk.world.confirm_after = 0, None
    walk.world.lagging = ("egress-1 is gone.",)
    walk.run(30)
    assert walk.weight("1.0") == 50
    assert walk.waiting == "egress-1 is gone."


def test_an_unconfirmed_rollback_stops_nothing():
    walk = at_half(abort_delay_s=0)
    walk.world.confirm_after = None
    walk.roll_back()
    walk.run(300)
    assert walk.weights[-1] == {"0.9": 100, "1.0": 0}
    assert walk.phase is Phase.ROLLING_BACK
    assert walk.running("1.0") == 2


def test_an_unreachable_platform_freezes_progress():
    walk = at_half("50:5s, 100")
    walk.world.reachable = False
    walk.run(60)
    assert walk.weight("1.0") == 50
    assert "does not answer" in walk.waiting
    walk.world.reachable = True
    walk.until(Phase.SUCCEEDED, within=5)


def test_a_rollback_works_while_the_platform_is_unreachable():
    walk = at_half()
    walk.world.reachable = False
    walk.roll_back()
    walk.until(Phase.ROLLED_BACK, within=3)
    assert walk.weight("0.9") == 100


def test_a_rollback_works_when_nothing_at_all_is_known_of_the_tasks():
    walk = at_half()
    walk.world.reachable, walk.world.last = False, {}
    walk.run(3)
    assert walk.weight("1.0") == 50
    walk.roll_back()
    walk.until(Phase.ROLLED_BACK, within=3)
    assert walk.weight("0.9") == 100


# After success: warm, drained, gone


def test_the_old_version_stays_warm_for_the_delay_then_drains_then_goes():
    walk = promoted(scale_down_s=600, drain_s=2)
    walk.run(599)
    assert walk.version("0.9").keep == 2
    walk.tick()
    assert (walk.version("0.9").keep, walk.running("0.9")) == (0, 2)
    walk.run(2)
    assert walk.running("0.9") == 0
    assert walk.running("1.0") == 2


def test_no_more_than_keep_warm_old_versions_stay():
    walk = Walk(keep_warm=1)
    for label in ("1.0", "1.1", "1.2"):
        walk.deploy(label, "100")
        walk.until(Phase.SUCCEEDED)
    walk.run(5)
    assert [walk.running(v) for v in ("0.9", "1.0", "1.1", "1.2")] == [0, 0, 2, 2]


def test_a_version_that_was_rolled_back_does_not_drive_out_the_warm_one():
    walk = promoted(keep_warm=1, abort_delay_s=30)
    walk.deploy("1.1", "50:approval, 100")
    walk.until_weight("1.1", 50)
    walk.roll_back()
    walk.until(Phase.ROLLED_BACK)
    walk.run(5)
    assert walk.running("0.9") == 2
    walk.run(40)
    assert (walk.running("0.9"), walk.running("1.1")) == (2, 0)


def test_a_rollback_to_a_warm_version_only_writes_weights():
    walk = promoted()
    walk.run(100)
    machines = dict(walk.world.machines[walk.pk("0.9")])
    walk.deploy("0.9", "100")
    walk.tick(0)
    assert walk.version("0.9").retire_left is None
    walk.until(Phase.SUCCEEDED, within=3)
    assert walk.world.machines[walk.pk("0.9")] == machines
    assert walk.weight("0.9") == 100
    assert walk.version("1.0").retire_left is not None


def test_a_rollback_to_a_cold_version_starts_it_at_0_and_gates_on_health():
    walk = promoted(scale_down_s=5)
    walk.run(10)
    assert walk.running("0.9") == 0
    walk.deploy("0.9", "100")
    walk.tick()
    assert walk.weight("0.9") == 0
    walk.until(Phase.SUCCEEDED, within=10)
    assert walk.running("0.9") == 2


def test_a_redeploy_of_a_draining_version_stops_the_draining():
    walk = promoted(scale_down_s=5, drain_s=60)
    walk.run(10)
    assert walk.version("0.9").keep == 0
    machines = dict(walk.world.machines[walk.pk("0.9")])
    walk.deploy("0.9", "100")
    walk.until(Phase.SUCCEEDED, within=5)
    walk.run(100)
    assert walk.world.machines[walk.pk("0.9")] == machines


def test_a_redeploy_forgets_an_old_wish_to_destroy():
    walk = at_half()
    walk.abort()
    walk.until(Phase.ROLLED_BACK)
    walk.destroy("1.0")
    walk.tick()
    walk.deploy("1.0", "100")
    walk.until(Phase.SUCCEEDED)
    walk.deploy("0.9", "100")
    walk.until(Phase.SUCCEEDED)
    walk.run(10)
    assert walk.running("1.0") == 2


# Scale


def test_more_tasks_start_at_once_and_fewer_drain_first():
    walk = Walk(tasks=2, drain_s=3)
    walk.scale(4)
    walk.tick()
    assert (walk.version("0.9").keep, walk.running("0.9")) == (4, 4)
    walk.run(5)
    walk.scale(1)
    walk.tick()
    assert (walk.version("0.9").keep, walk.running("0.9")) == (1, 4)
    walk.run(2)
    assert walk.running("0.9") == 4
    walk.tick()
    assert walk.running("0.9") == 1


def test_scaling_up_again_stops_the_draining():
    walk = Walk(tasks=3, drain_s=60)
    machines = dict(walk.world.machines[walk.pk("0.9")])
    walk.scale(1)
    walk.tick()
    walk.scale(3)
    walk.run(100)
    assert walk.world.machines[walk.pk("0.9")] == machines
    assert walk.version("0.9").drain_left is None


def test_scaling_down_never_takes_the_last_healthy_task():
    walk = Walk(tasks=2)
    walk.kill("0.9", tasks=1)
    walk.scale(1)
    walk.run(60)
    assert walk.running("0.9") == 2
    walk.revive("0.9")
    walk.run(5)
    assert walk.running("0.9") == 1


def test_tasks_that_drain_do_not_count_as_healthy():
    walk = Walk(tasks=2, drain_s=600)
    walk.scale(1)
    walk.tick()
    walk.kill("0.9", tasks=1)
    walk.deploy("1.0", "5:approval, 100")
    walk.run(20)
    assert walk.weights[-1] == {"0.9": 0, "1.0": 100}


def test_scaling_up_in_the_middle_holds_the_next_step_until_all_are_healthy():
    walk = at_half("50:5s, 100")
    walk.world.healthy_after = 30
    walk.revive("0.9")
    walk.revive("1.0")
    walk.scale(3)
    walk.run(20)
    assert walk.weight("1.0") == 50
    assert "2 of 3 tasks" in walk.waiting
    walk.until(Phase.SUCCEEDED, within=20)
    assert walk.running("1.0") == 3
