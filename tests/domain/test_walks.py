"""Rollouts from start to end in a simulated world: the semantics of the design, one test each."""

import pytest

from rollouts.domain.plan import Plan, Step
from rollouts.domain.state import Phase, Stage
from tests.domain.world import Walk

HALF = "50:approval, 100"


def at_half(plan: str | Plan = HALF, **settings) -> Walk:
    """1.0 has 50 %, confirmed, and waits there."""
    walk = Walk(**settings)
    walk.deploy("1.0", plan)
    walk.until_true(lambda: walk.rollout.stage in (Stage.HOLD, Stage.APPROVAL))
    return walk


def promoted(**settings) -> Walk:
    """1.0 is stable since this very moment, 0.9 is warm."""
    walk = Walk(**settings)
    walk.deploy("1.0", "100")
    walk.until(Phase.SUCCEEDED)
    return walk


# Happy path


def test_a_deploy_stops_at_half_while_the_old_version_serves_on():
    walk = at_half()
    walk.run(50)
    assert walk.phase is Phase.PROGRESSING
    assert walk.weights[-1] == {"0.9": 50, "1.0": 50}
    assert walk.running("0.9") == walk.running("1.0") == 2


def test_the_first_weight_comes_after_every_task_is_healthy():
    walk = Walk(tasks=3)
    walk.deploy("1.0", "50, 100")
    walk.until_weight("1.0", 50)
    assert walk.moments[-1].seen.healthy(walk.pk("1.0")) == 3


def test_a_promoted_wait_goes_to_the_next_step_and_skips_no_weight():
    walk = at_half("10:approval, 50:approval, 100")
    walk.promote()
    walk.until_weight("1.0", 50)
    walk.run(5)
    assert walk.course("1.0") == [0, 10, 50]


def test_a_hold_lasts_its_seconds_after_the_confirmation():
    walk = at_half("50:5s, 100")
    began = walk.now
    walk.until_weight("1.0", 100)
    assert walk.now - began == 5


def test_a_hold_may_be_longer_than_the_start_deadline():
    walk = Walk()
    walk.deploy("1.0", "50:300s, 100", deadline=20)
    walk.until(Phase.SUCCEEDED)


def test_a_preview_at_0_percent_runs_and_takes_no_request():
    walk = at_half("0:approval, 50:approval, 100")
    assert walk.weight("1.0") == 0
    assert walk.running("1.0") == 2
    walk.promote()
    walk.until_weight("1.0", 50)


def test_the_weights_are_exactly_those_of_the_plan():
    walk = Walk()
    walk.deploy("1.0", "1, 2, 10, 80")
    walk.until(Phase.SUCCEEDED)
    assert walk.course("1.0") == [0, 1, 2, 10, 80, 100]
    assert walk.state.stable == walk.pk("1.0")


def test_a_plan_may_go_down_again():
    walk = Walk()
    walk.deploy("1.0", "80:2s, 20:2s, 100")
    walk.until(Phase.SUCCEEDED)
    assert walk.course("1.0") == [0, 80, 20, 100]


def test_the_first_deploy_of_a_service_goes_straight_to_100():
    walk = Walk(stable=False)
    walk.deploy("1.0", "5:60s, 50:approval, 100")
    walk.until(Phase.SUCCEEDED, within=10)
    assert walk.weights == [{}, {"1.0": 100}]


def test_a_first_deploy_that_fails_leaves_nothing_in_the_route():
    walk = Walk(stable=False)
    walk.deploy("1.0", deadline=10)
    walk.world.broken.add(walk.pk("1.0"))
    walk.until(Phase.FAILED)
    assert walk.weights == [{}]
    walk.run(60)
    assert walk.running("1.0") == 0


def test_holds_are_not_longer_or_shorter_when_ticks_are_rare():
    walk = at_half("50:60s, 100")
    walk.tick(59)
    assert walk.weight("1.0") == 50
    walk.tick(1)
    assert walk.weight("1.0") == 100


# Health gate and deadline


def test_a_version_that_never_gets_healthy_never_gets_a_request():
    walk = Walk()
    walk.deploy("1.0", deadline=30)
    walk.world.broken.add(walk.pk("1.0"))
    walk.until(Phase.ROLLED_BACK, within=40)
    assert set(walk.course("1.0")) == {0}
    assert walk.weights[-1] == {"0.9": 100, "1.0": 0}
    assert "0 of 2 tasks" in walk.rollout.reason
    assert "Not serving yet." in walk.rollout.reason
    assert not walk.state.automatic


def test_one_healthy_task_of_two_is_not_enough_to_start():
    walk = Walk()
    walk.deploy("1.0", deadline=30)
    walk.until(Phase.STARTING)
    walk.kill("1.0", tasks=1)
    walk.run(20)
    assert walk.phase is Phase.STARTING
    walk.until(Phase.ROLLED_BACK)
    assert "1 of 2 tasks" in walk.rollout.reason


def test_a_second_bad_version_leaves_stable_whole_and_the_first_gone():
    walk = Walk()
    for label in ("1.0", "1.1"):
        walk.deploy(label, deadline=10)
        walk.world.broken.add(walk.pk(label))
        walk.until(Phase.ROLLED_BACK)
    walk.run(60)
    assert [walk.running(label) for label in ("0.9", "1.0", "1.1")] == [2, 0, 0]


def test_a_good_version_after_a_bad_one_starts_at_step_0():
    walk = Walk()
    walk.deploy("1.0", deadline=10)
    walk.world.broken.add(walk.pk("1.0"))
    walk.until(Phase.ROLLED_BACK)
    walk.deploy("1.1", "5, 100")
    walk.until(Phase.SUCCEEDED)
    assert walk.course("1.1")[-2:] == [5, 100]
    assert walk.state.stable == walk.pk("1.1")


def test_a_step_waits_while_the_new_version_is_under_capacity():
    walk = at_half("50:5s, 100")
    walk.kill("1.0", tasks=1)
    walk.run(60)
    assert walk.weights[-1] == {"0.9": 50, "1.0": 50}
    assert "1 of 2 tasks" in walk.waiting
    walk.revive("1.0")
    walk.until(Phase.SUCCEEDED, within=5)


def test_a_lower_weight_does_not_wait_for_capacity():
    walk = at_half("50:5s, 20:approval, 100")
    walk.kill("1.0", tasks=1)
    walk.until_weight("1.0", 20)


def test_promoting_fully_still_waits_for_health():
    walk = Walk()
    walk.deploy("1.0", "5:60s, 100", deadline=20)
    walk.world.broken.add(walk.pk("1.0"))
    walk.promote_fully()
    walk.until(Phase.ROLLED_BACK)
    assert set(walk.course("1.0")) == {0}


def test_a_crash_loop_ends_the_start_early():
    walk = Walk()
    walk.deploy("1.0", deadline=600)
    walk.world.crashing.add(walk.pk("1.0"))
    walk.until(Phase.ROLLED_BACK, within=12)
    assert "does not start" in walk.rollout.reason


def test_the_deadline_does_not_run_while_paused():
    walk = Walk()
    walk.deploy("1.0", deadline=10)
    walk.world.broken.add(walk.pk("1.0"))
    walk.run(5)
    walk.pause()
    walk.run(100)
    assert walk.phase is Phase.STARTING
    walk.resume()
    walk.run(4)
    assert walk.phase is Phase.STARTING
    walk.until(Phase.ROLLED_BACK, within=3)


def test_a_version_of_which_no_task_ever_appears_is_given_up():
    walk = Walk()
    walk.deploy("1.0", deadline=10)
    walk.tick(0)
    walk.world.machines.pop(walk.pk("1.0"), None)
    walk.world.apply = lambda state: None  # type: ignore[method-assign]
    walk.until(Phase.ROLLED_BACK, within=12)
    assert "0 of 2 tasks" in walk.rollout.reason


# Pause, promote, approve


def test_a_pause_freezes_a_hold_with_the_time_it_had_left():
    walk = at_half("50:60s, 100")
    walk.run(20)
    walk.pause()
    walk.run(200)
    assert walk.rollout.left == 40
    assert walk.weight("1.0") == 50
    walk.resume()
    walk.run(39)
    assert walk.weight("1.0") == 50
    walk.tick()
    assert walk.weight("1.0") == 100


def test_a_pause_before_health_keeps_the_weight_at_0():
    walk = Walk()
    walk.deploy("1.0")
    walk.pause()
    walk.run(60)
    assert walk.running("1.0") == 2
    assert set(walk.course("1.0")) == {0}
    walk.resume()
    walk.until(Phase.SUCCEEDED)


def test_a_pause_at_100_percent_delays_the_success():
    walk = at_half()
    walk.world.confirm_after = 5
    walk.promote()
    walk.until_weight("1.0", 100)
    walk.pause()
    walk.run(30)
    assert walk.phase in (Phase.PROGRESSING, Phase.PROMOTING)
    walk.resume()
    walk.until(Phase.SUCCEEDED, within=2)


def test_promoting_ends_exactly_one_hold_however_often_it_is_asked():
    walk = at_half("5:60s, 25:60s, 50:60s, 100")
    walk.promote()
    walk.promote()
    walk.until_weight("1.0", 25)
    walk.run(30)
    assert walk.rollout.step == 1
    walk.wish(promote_step=0)  # a second person, whose page was one step behind
    walk.run(20)
    assert walk.rollout.step == 1


def test_promoting_before_the_confirmation_ends_the_hold_that_follows():
    walk = Walk()
    walk.deploy("1.0", "5:600s, 50:600s, 100")
    walk.world.confirm_after = 3
    walk.until_weight("1.0", 5)
    walk.promote()
    walk.run(2)
    assert walk.weight("1.0") == 5
    walk.run(5)
    assert walk.weight("1.0") == 50
    walk.run(60)
    assert walk.rollout.step == 1


def test_promoting_while_paused_waits_for_the_resume():
    walk = at_half()
    walk.pause()
    walk.promote()
    walk.run(10)
    assert walk.weight("1.0") == 50
    walk.resume()
    walk.until(Phase.SUCCEEDED, within=5)


def test_promoting_after_success_changes_nothing():
    walk = promoted()
    seen = list(walk.weights)
    walk.promote_fully()
    walk.run(5)
    assert walk.weights == seen


def test_promoting_fully_skips_the_rest():
    walk = at_half("5:60s, 25:60s, 50:approval, 100")
    walk.promote_fully()
    walk.until(Phase.SUCCEEDED, within=5)
    assert walk.course("1.0") == [0, 5, 100]


def test_promoting_fully_from_the_start_sends_100_once_healthy():
    walk = Walk()
    walk.deploy("1.0", "5:60s, 100")
    walk.promote_fully()
    walk.until(Phase.SUCCEEDED, within=10)
    assert walk.course("1.0") == [0, 100]


@pytest.mark.parametrize(
    ("on_timeout", "phase", "weight"),
    [
        ("rollback", Phase.ROLLED_BACK, 0),
        ("promote", Phase.SUCCEEDED, 100),
        ("wait", Phase.PROGRESSING, 50),
    ],
)
def test_an_approval_that_nobody_gives_ends_as_the_plan_says(on_timeout, phase, weight):
    step = Step(50, approval=True, timeout_s=30, on_timeout=on_timeout)
    walk = at_half((step, Step(100)))
    walk.run(29)
    assert walk.weight("1.0") == 50
    walk.run(5)
    assert walk.phase is phase
    assert walk.weight("1.0") == weight


def test_an_approval_that_goes_on_waiting_says_so_once_and_can_be_given():
    walk = at_half((Step(50, approval=True, timeout_s=5, on_timeout="wait"), Step(100)))
    walk.run(60)
    assert walk.sentences().count("goes on waiting") == 1
    walk.promote()
    walk.until(Phase.SUCCEEDED, within=5)


# Roll back, abort


def test_a_rollback_sends_100_to_stable_before_any_task_stops():
    walk = at_half()
    walk.roll_back("slow answers")
    walk.tick(0)
    assert walk.weights[-1] == {"0.9": 100, "1.0": 0}
    assert walk.running("1.0") == 2
    assert walk.phase is Phase.ROLLING_BACK
    walk.until(Phase.ROLLED_BACK, within=2)
    assert walk.rollout.reason == "ada asked for it. slow answers"
    assert not walk.state.automatic


def test_the_tasks_stay_for_the_abort_delay_then_drain_then_go():
    walk = at_half(abort_delay_s=30, drain_s=3)
    walk.roll_back()
    walk.until(Phase.ROLLED_BACK)
    walk.run(29)
    assert (walk.version("1.0").keep, walk.running("1.0")) == (2, 2)
    walk.tick()
    assert (walk.version("1.0").keep, walk.running("1.0")) == (0, 2)
    walk.run(2)
    assert walk.running("1.0") == 2
    walk.tick()
    assert walk.running("1.0") == 0
    assert walk.running("0.9") == 2


def test_a_rollback_before_any_weight_writes_0_and_stops_the_start():
    walk = Walk()
    walk.deploy("1.0", HALF)
    walk.until(Phase.STARTING)
    walk.roll_back()
    walk.until(Phase.ROLLED_BACK, within=3)
    assert set(walk.course("1.0")) == {0}
    assert walk.rollout.step == 0
    walk.run(40)
    assert (walk.running("0.9"), walk.running("1.0")) == (2, 0)


def test_a_rollback_in_the_very_first_tick_ends_well():
    walk = Walk()
    walk.deploy("1.0", HALF)
    walk.roll_back()
    walk.until(Phase.ROLLED_BACK, within=3)
    assert walk.weight("0.9") == 100


def test_a_rollback_while_paused_needs_no_resume():
    walk = at_half()
    walk.pause()
    walk.roll_back()
    walk.until(Phase.ROLLED_BACK, within=3)


def test_a_rollback_beats_a_promotion_asked_for_at_the_same_time():
    walk = at_half()
    walk.promote_fully()
    walk.roll_back()
    walk.until(Phase.ROLLED_BACK, within=3)
    assert max(walk.course("1.0")) == 50


def test_a_rollback_in_the_promotion_still_wins():
    walk = at_half()
    walk.world.confirm_after = 5
    walk.promote()
    walk.until_weight("1.0", 100)
    walk.roll_back()
    walk.until(Phase.ROLLED_BACK, within=10)
    assert walk.weights[-1] == {"0.9": 100, "1.0": 0}
    assert walk.state.stable == walk.pk("0.9")


def test_a_rollback_after_success_changes_nothing():
    walk = promoted()
    walk.roll_back()
    walk.run(5)
    assert walk.weight("1.0") == 100


def test_a_rolled_back_version_is_not_tried_again_by_itself():
    walk = at_half()
    walk.roll_back()
    walk.until(Phase.ROLLED_BACK)
    walk.run(100)
    assert walk.course("1.0")[-1] == 0
    assert walk.state.rollout is None


def test_an_abort_keeps_the_tasks_until_someone_destroys_them():
    walk = at_half()
    walk.abort()
    walk.until(Phase.ROLLED_BACK)
    walk.tick(1e6)
    walk.run(50)
    assert (walk.weight("1.0"), walk.running("1.0")) == (0, 2)
    walk.destroy("1.0")
    walk.run(5)
    assert walk.running("1.0") == 0
    assert not walk.version("1.0").destroy


def test_a_destroy_wish_does_not_touch_what_serves():
    walk = at_half()
    walk.destroy("0.9")
    walk.destroy("1.0")
    walk.run(50)
    assert walk.running("0.9") == walk.running("1.0") == 2


# Death


def test_killing_every_new_task_at_half_rolls_back_with_the_reason():
    walk = at_half()
    walk.kill("1.0")
    walk.tick(0)
    assert walk.weights[-1] == {"0.9": 100, "1.0": 0}
    walk.until(Phase.ROLLED_BACK, within=3)
    assert walk.rollout.reason == "No task of 1.0 is healthy: It was ended by signal 9."


def test_killing_every_new_task_while_paused_rolls_back_as_well():
    walk = at_half()
    walk.pause()
    walk.kill("1.0")
    walk.until(Phase.ROLLED_BACK, within=3)


def test_one_dead_task_of_two_does_not_roll_back():
    walk = at_half()
    walk.kill("1.0", tasks=1)
    walk.run(30)
    assert walk.weights[-1] == {"0.9": 50, "1.0": 50}
    walk.revive("1.0")
    walk.promote()
    walk.until(Phase.SUCCEEDED, within=5)


def test_as_many_deaths_as_tasks_roll_back_though_they_start_again():
    walk = at_half()
    for _ in range(2):
        walk.kill("1.0", tasks=1)
        walk.tick()
        walk.revive("1.0")
    walk.until(Phase.ROLLED_BACK, within=3)
    assert "2 tasks of 1.0 died" in walk.rollout.reason


def test_a_dead_stable_gets_nothing_and_the_healthy_side_holds():
    walk = at_half("50:5s, 80:5s, 100")
    walk.kill("0.9")
    walk.run(60)
    assert walk.weights[-1] == {"0.9": 0, "1.0": 100}
    assert walk.phase is Phase.PROGRESSING
    assert walk.state.alarm == "0.9 has no healthy task: every request goes to 1.0."
    assert walk.waiting == walk.state.alarm
    assert walk.sentences().count("every request goes to 1.0") == 1


def test_after_its_death_stable_gets_the_share_of_the_step_back():
    walk = at_half("5:approval, 100")
    walk.kill("0.9")
    walk.run(10)
    assert walk.weight("1.0") == 100
    walk.revive("0.9")
    walk.run(3)
    assert walk.weights[-1] == {"0.9": 95, "1.0": 5}
    assert walk.state.alarm == ""


def test_promoting_fully_leaves_a_dead_stable_behind():
    walk = at_half("50:5s, 80:5s, 100")
    walk.kill("0.9")
    walk.tick()
    walk.promote_fully()
    walk.until(Phase.SUCCEEDED, within=5)


def test_nothing_is_rolled_back_into_a_dead_stable():
    walk = at_half()
    walk.kill("0.9")
    walk.tick()
    walk.roll_back()
    walk.run(30)
    assert walk.phase is Phase.ROLLING_BACK
    assert walk.weights[-1] == {"0.9": 0, "1.0": 100}
    walk.revive("0.9")
    walk.until(Phase.ROLLED_BACK, within=3)
    assert walk.weights[-1] == {"0.9": 100, "1.0": 0}


def test_when_both_are_dead_the_weights_do_not_swing():
    walk = at_half()
    walk.kill("0.9")
    walk.kill("1.0")
    walk.tick()
    before = len(walk.weights)
    walk.run(60)
    assert len(walk.weights) == before
    assert "No version has a healthy task" in walk.state.alarm


def test_a_new_stable_that_dies_after_success_hands_over_to_the_warm_one_and_comes_back():
    walk = promoted()
    walk.run(100)
    walk.kill("1.0")
    walk.tick()
    assert walk.weights[-1] == {"0.9": 100, "1.0": 0}
    assert walk.state.alarm
    walk.run(1000)
    assert walk.running("0.9") == 2
    walk.revive("1.0", tasks=1)
    walk.run(5)
    assert walk.weight("0.9") == 100
    assert "every task of 1.0" in walk.waiting
    walk.revive("1.0")
    walk.run(2)
    assert walk.weights[-1] == {"0.9": 0, "1.0": 100}
    walk.run(505)
    assert walk.running("0.9") == 0


def test_a_rolled_back_version_helps_out_only_while_stable_is_dead():
    walk = at_half(abort_delay_s=30)
    walk.roll_back()
    walk.until(Phase.ROLLED_BACK)
    walk.kill("0.9")
    walk.run(60)
    assert walk.weight("1.0") == 100
    walk.revive("0.9")
    walk.run(40)
    assert walk.weight("0.9") == 100
    assert walk.running("1.0") == 0


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
