"""Every known wrong is caught within 200 cases, by the verdict that is named for it and that it needs."""

import numpy as np
import pytest
from mutants import MUTANTS

from npresnext.testing import runner as running
from npresnext.testing.arithmetic import as_arithmetic
from npresnext.testing.cases import as_supports
from npresnext.testing.runner import Runner
from npresnext.testing.subject import Subject

VERDICTS = {mutant.caught_by[1] for mutant in MUTANTS}


def case_that_catches(mutant, most=200):
    """The number of the case in which the mutant's own check fails, or None."""
    options = dict(mutant.options)
    dtype = options.get("dtype", "float32")
    subject = Subject(mutant.forward, mutant.backward, dtype)
    arithmetic = as_arithmetic(dtype, options.get("arithmetic"))
    runner = Runner(subject, arithmetic, options.get("algorithm", "direct"), as_supports(None))
    name, verdict = mutant.caught_by
    with np.errstate(all="ignore"):
        if verdict == "statistical":
            runner.try_large()
            assert not any(row.failed for row in runner.rows.values()), "the worst-case bound lets it through"
            return 1 if runner.statistics[name].suspicious else None
        for case in runner.cases(most, seed=0):
            runner.try_case(case)
            if mutant.caught_by in runner.rows and runner.rows[mutant.caught_by].failed:
                return runner.tried
            if runner.tried == most:
                return None


def test_there_are_forty_mutants_and_more_by_every_verdict_under_different_names():
    assert len(MUTANTS) >= 40
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert VERDICTS == {"exact", "bounded", "normwise", "statistical", "contract"}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_is_caught(mutant):
    assert case_that_catches(mutant) is not None


@pytest.mark.parametrize("verdict", sorted(VERDICTS))
def test_without_its_verdict_a_mutant_is_not_caught(verdict, monkeypatch):
    """Disable a verdict, and the test above turns red for what it must catch."""
    of_verdict = [mutant for mutant in MUTANTS if mutant.caught_by[1] == verdict]
    examine = Runner.examine
    monkeypatch.setattr(
        Runner, "examine", lambda *args: (outcome for outcome in examine(*args) if outcome.key[1] != verdict)
    )
    monkeypatch.setattr(running.verdicts.Statistics, "suspicious", verdict != "statistical")
    for mutant in of_verdict[:2]:
        assert case_that_catches(mutant, most=40) is None


# of the bounded ones these two are wrong on integers as well
ON_INTEGERS = {"a factor of 1 + 2^-20", "results rounded to bfloat16"}
ROUNDING = [mutant for mutant in MUTANTS if mutant.caught_by[1] == "bounded" and mutant.name not in ON_INTEGERS]


@pytest.mark.parametrize("mutant", ROUNDING, ids=lambda mutant: mutant.name)
def test_rounding_faults_pass_every_verdict_but_the_bounded_one(mutant):
    """Small integers survive a narrower format, so nothing but the proven bound sees these."""
    dtype = mutant.options.get("dtype", "float32")
    runner = Runner(Subject(mutant.forward, mutant.backward, dtype), as_arithmetic(dtype), "direct", as_supports(None))
    for case in list(runner.cases(20, seed=0))[:40]:
        runner.try_case(case)
    assert {verdict for (_, verdict), row in runner.rows.items() if row.failed} <= {"bounded"}
