"""Rollouts that go back: rollbacks, aborts, deaths. Stepped by hand over a fake world."""

from rollouts.domain.state import Phase
from tests.domain.starts import HALF, at_half, promoted
from tests.domain.world import Walk

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
