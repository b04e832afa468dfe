"""A training told how long it may take: the learning rate is annealed to the end, the stop comes in time."""

import math

import pytest
import torch

from hf_rnnattn.time_budget import DECAYS, TimeBudget, TimeBudgetSchedule


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def schedule_of(budget: TimeBudget, **options) -> TimeBudgetSchedule:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    return TimeBudgetSchedule(optimizer, budget, **options)


def rate_after(schedule: TimeBudgetSchedule, clock: Clock, seconds: float) -> float:
    clock.now += seconds
    schedule.optimizer.step()
    schedule.step()
    return schedule.get_last_lr()[0]


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_learning_rate_follows_the_time_and_ends_at_zero(kind: str) -> None:
    clock = Clock()
    budget = TimeBudget(100, clock)
    schedule = schedule_of(budget, total_steps=10**6, kind=kind)
    budget.start()
    rates = [rate_after(schedule, clock, 10) for _ in range(10)]
    expected = [2.0 * DECAYS[kind](share / 10) for share in range(1, 11)]
    assert rates == pytest.approx(expected, abs=1e-4)
    assert rates[-1] == pytest.approx(0.0, abs=1e-12)


def test_decays_are_the_textbook_ones() -> None:
    assert [DECAYS["linear"](p) for p in (0.0, 0.25, 1.0)] == [1.0, 0.75, 0.0]
    assert [DECAYS["cosine"](p) for p in (0.0, 0.5, 1.0)] == pytest.approx([1.0, 0.5, 0.0])
    assert DECAYS["cosine"](0.25) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)


def test_learning_rate_follows_the_steps_where_they_end_first() -> None:
    clock = Clock()
    budget = TimeBudget(10**9, clock)
    schedule = schedule_of(budget, total_steps=4)
    budget.start()
    assert [rate_after(schedule, clock, 1) for _ in range(4)] == pytest.approx([1.5, 1.0, 0.5, 0.0])


def test_warmup_of_a_share_ends_at_the_peak() -> None:
    clock = Clock()
    budget = TimeBudget(100, clock)
    schedule = schedule_of(budget, total_steps=10**6, warmup=0.2)
    budget.start()
    assert [rate_after(schedule, clock, 10) for _ in range(3)] == pytest.approx([1.0, 2.0, 2.0 * 7 / 8])


def test_warmup_of_steps_counts_steps() -> None:
    clock = Clock()
    schedule = schedule_of(TimeBudget(100, clock), total_steps=10**6, kind="constant", warmup=4)
    assert schedule.get_last_lr() == [0.0]
    assert [rate_after(schedule, clock, 0) for _ in range(5)] == [0.5, 1.0, 1.5, 2.0, 2.0]


def test_time_before_the_start_is_not_counted() -> None:
    clock = Clock()
    budget = TimeBudget(10, clock)
    clock.now += 100
    assert budget.read() == 0.0
    budget.start()
    clock.now += 5
    assert budget.read() == 0.5


def test_resumed_schedule_goes_on_where_it_stood() -> None:
    clock = Clock()
    budget = TimeBudget(100, clock)
    first = schedule_of(budget, total_steps=1000)
    budget.start()
    for _ in range(3):
        rate_after(first, clock, 10)
    clock.now += 10**6  # the run was down for days
    later = TimeBudget(100, clock)
    second = schedule_of(later, total_steps=1000)
    second.load_state_dict(first.state_dict())
    later.start()
    assert later.share == 0.3
    assert second.get_last_lr() == first.get_last_lr()
    assert rate_after(second, clock, 10) == pytest.approx(2.0 * 0.6)
    assert second.last_epoch == 4


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf])
def test_budget_that_is_no_time_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="positive number of seconds"):
        TimeBudget(seconds)


def test_schedule_that_cannot_follow_time_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"'inverse_sqrt' cannot follow a time budget; choose from linear, cosine"):
        schedule_of(TimeBudget(1), total_steps=1, kind="inverse_sqrt")
    with pytest.raises(ValueError, match="total_steps must be >= 1, got 0"):
        schedule_of(TimeBudget(1), total_steps=0)
    with pytest.raises(ValueError, match="warmup_steps must be >= 0, got -1"):
        schedule_of(TimeBudget(1), total_steps=1, warmup=-1)
