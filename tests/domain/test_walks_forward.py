"""Rollouts that go forward: steps, holds, health, pauses. Stepped by hand over a fake world."""

import pytest

from rollouts.domain.plan import Step
from rollouts.domain.state import Phase
from tests.domain.starts import at_half, promoted
from tests.domain.world import Walk

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
