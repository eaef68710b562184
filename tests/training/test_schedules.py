"""Learning rates by epoch."""

import pytest

from npresnext.errors import InvalidTypeError, InvalidValueError
from npresnext.training import schedules


def test_the_papers_schedule_divides_by_ten_at_150_and_225():
    rate = schedules.step(0.1, [150, 225])
    rates = [rate(epoch) for epoch in range(300)]
    assert rates == pytest.approx([0.1] * 150 + [0.01] * 75 + [0.001] * 75)


def test_a_cosine_starts_at_the_rate_halves_in_the_middle_and_never_rises():
    rate = schedules.cosine(0.2, 10)
    rates = [rate(epoch) for epoch in range(12)]
    assert rates[0] == 0.2 and rates[5] == pytest.approx(0.1) and rates[10] == rates[11] == pytest.approx(0)
    assert rates == sorted(rates, reverse=True)


@pytest.mark.oracle
def test_the_schedules_are_those_of_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    for ours, make in (
        (schedules.step(0.1, [3, 7]), lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [3, 7])),
        (schedules.cosine(0.1, 9), lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 9)),
    ):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
        theirs = make(optimizer)
        for epoch in range(9):
            assert ours(epoch) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
            optimizer.step()
            theirs.step()


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: schedules.constant(0), "rate=0"),
        (lambda: schedules.cosine(float("nan"), 3), "rate must be a finite number"),
        (lambda: schedules.cosine(0.1, 0), "epochs must be at least 1"),
        (lambda: schedules.step(0.1, [5, 5]), "increasing epochs"),
        (lambda: schedules.step(0.1, [0]), "above 0"),
    ],
)
def test_impossible_schedules_are_refused(make, words):
    with pytest.raises(InvalidValueError, match=words):
        make()


def test_what_should_be_a_number_is_named():
    with pytest.raises(InvalidTypeError, match="rate must be a number, but '0.1' is of type str"):
        schedules.cosine("0.1", 3)
    with pytest.raises(InvalidTypeError, match="milestones must be a sequence of epochs, but is of type int"):
        schedules.step(0.1, 5)
    with pytest.raises(InvalidTypeError, match="gamma must be a number"):
        schedules.step(0.1, [5], gamma="half")
