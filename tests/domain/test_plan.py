"""Plans are read, written and refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollouts.domain.plan import (
    DEFAULT_PRESET,
    MAX_HOLD_S,
    MAX_STEPS,
    PRESETS,
    Plan,
    Step,
    check,
    from_json,
    parse,
    text,
    to_json,
)
from rollouts.errors import InvalidPlan

SECONDS = st.integers(1, MAX_HOLD_S)
WEIGHTS = st.integers(0, 100)
HOLDS = st.builds(Step, WEIGHTS, hold_s=st.just(0) | SECONDS)
APPROVALS = st.builds(
    Step,
    WEIGHTS,
    approval=st.just(True),
    timeout_s=st.none() | SECONDS,
    on_timeout=st.sampled_from(["rollback", "promote", "wait"]),
)
PLANS = st.lists(HOLDS | APPROVALS, min_size=1, max_size=20).map(tuple)
SHORT = st.lists(
    HOLDS | st.builds(Step, WEIGHTS, approval=st.just(True)), min_size=1, max_size=20
).map(tuple)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*Step.__dataclass_fields__, "phase"]), inner, max_size=5)
    ),
    max_leaves=12,
)

BAD_STEPS: list[dict[str, Any]] = [
    {},
    {"weight": -1},
    {"weight": 101},
    {"weight": 50.5},
    {"weight": 50.0},
    {"weight": float("nan")},
    {"weight": float("inf")},
    {"weight": "50"},
    {"weight": "٥٠"},
    {"weight": True},
    {"weight": None},
    {"weight": 10**400},
    {"weight": [50]},
    {"weight": 50, "hold_s": -1},
    {"weight": 50, "hold_s": 1e12},
    {"weight": 50, "hold_s": 10**12},
    {"weight": 50, "hold_s": MAX_HOLD_S + 1},
    {"weight": 50, "hold_s": True},
    {"weight": 50, "hold_s": None},
    {"weight": 50, "approval": "yes"},
    {"weight": 50, "approval": 1},
    {"weight": 50, "approval": True, "hold_s": 5},
    {"weight": 50, "timeout_s": 5},
    {"weight": 50, "approval": True, "timeout_s": 0},
    {"weight": 50, "approval": True, "timeout_s": -1},
    {"weight": 50, "approval": True, "timeout_s": 0.5},
    {"weight": 50, "approval": True, "timeout_s": MAX_HOLD_S + 1},
    {"weight": 50, "approval": True, "on_timeout": "explode"},
    {"weight": 50, "approval": True, "on_timeout": ["wait"]},
    {"weight": 50, "phase": "succeeded"},
]
BAD_TEXTS = [
    "",
    " ",
    ",",
    "50,",
    "-1",
    "101",
    "50.5",
    "NaN",
    "inf",
    "true",
    "٥٠",
    "５０",
    "1" + "0" * 400,
    "50:-1",
    "50:1e12",
    "50:1000000000000",
    "50:999999999h",
    f"50:{MAX_HOLD_S + 1}",
    "50:60 d",
    "50:approval:60",
    "50:60s;100",
    "50\x00",
    "<script>",
    "{{7*7}}",
    "$(id)",
    "50," * 10_000 + "100",
    ",".join(["1"] * (MAX_STEPS + 1)),
]


@pytest.mark.parametrize("row", BAD_STEPS, ids=repr)
def test_a_bad_step_is_refused_and_named(row):
    with pytest.raises(InvalidPlan, match="Step 2: ") as refusal:
        from_json([{"weight": 5}, row])
    assert refusal.value.field == "plan"


@pytest.mark.parametrize("bad", BAD_TEXTS, ids=lambda bad: repr(bad[:20]))
def test_a_bad_text_is_refused_with_a_sentence(bad):
    with pytest.raises(InvalidPlan) as refusal:
        parse(bad)
    assert str(refusal.value).endswith(".")


@pytest.mark.parametrize("rows", [None, "50", 50, {"weight": 50}, [50], [None], [[50]], [[[]]]])
def test_what_is_not_a_list_of_steps_is_refused(rows):
    with pytest.raises(InvalidPlan):
        from_json(rows)


@pytest.mark.parametrize("steps", [0, MAX_STEPS + 1, 10_001])
def test_a_plan_without_steps_or_with_too_many_is_refused(steps):
    with pytest.raises(InvalidPlan, match=f"this one has {steps}"):
        from_json([{"weight": 50}] * steps)


def test_the_largest_plan_is_accepted():
    assert len(check([Step(100, MAX_HOLD_S)] * MAX_STEPS)) == MAX_STEPS


@pytest.mark.parametrize("key", PRESETS)
def test_every_preset_is_a_valid_plan_that_ends_at_100(key):
    steps = PRESETS[key].steps
    assert check(steps) == steps
    assert steps[-1] == Step(100)
    assert PRESETS[key].key == key


def test_the_default_is_half_then_all():
    assert [step.weight for step in PRESETS[DEFAULT_PRESET].steps] == [50, 100]


@pytest.mark.parametrize(
    ("short", "steps"),
    [
        ("100", (Step(100),)),
        ("0", (Step(0),)),
        ("5:60s, 25:10m", (Step(5, 60), Step(25, 600))),
        ("50:approval, 100", (Step(50, approval=True), Step(100))),
        (" 5 % : 60 s ,100 %", (Step(5, 60), Step(100))),
        ("50:1h", (Step(50, 3600),)),
        ("50:0", (Step(50),)),
        ("50:0s", (Step(50),)),
        ("050", (Step(50),)),
        ("80, 20", (Step(80), Step(20))),
    ],
)
def test_the_short_form_reads_as_written(short, steps):
    assert parse(short) == steps


@given(SHORT)
def test_a_plan_survives_its_short_form(plan: Plan):
    assert parse(text(plan)) == plan


@given(PLANS)
def test_a_plan_survives_json(plan: Plan):
    assert from_json(to_json(plan)) == plan


@given(st.text(alphabet="0123456789:%smh, aprovl٥.-") | st.text())
def test_any_text_is_a_plan_or_refused(anything: str):
    try:
        plan = parse(anything)
    except InvalidPlan:
        return
    assert check(plan) == plan


@given(JSON)
def test_any_json_is_a_plan_or_refused(anything: object):
    try:
        plan = from_json(anything)
    except InvalidPlan:
        return
    assert check(plan) == plan
