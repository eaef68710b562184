"""Tests of equal groups: false alarms at the stated rate, planted groups found, and the numbers of SciPy."""

import math

import numpy as np
import pytest
import scipy.signal
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

import npresnext as nx
from npresnext import cli
from npresnext.errors import BackwardError, InvalidTypeError, InvalidValueError, ShapeError
from npresnext.gradients import COMPARISON_COLUMNS, compare_groups, compare_seeds, open_rows, read_rows
from npresnext.gradients.statistics.comparison import NOTHING
from npresnext.gradients.statistics.corrections import holm
from npresnext.gradients.statistics.permutation import (
    least_pvalue,
    permutation_test,
    ratios_to_others,
    variation,
)
from npresnext.gradients.statistics.ranks import agreement, rank_rows
from npresnext.gradients.statistics.steps import autocorrelation_time, blocks_of_steps, shares_by_layer

LAYERS, RESAMPLES = 1000, 199


def correlated(rng, steps, groups, correlation):
    """Norms of an autoregressive process of order 1, after it has settled, with a factor common to all groups."""
    noise = scipy.signal.lfilter(
        [math.sqrt(1 - correlation**2)], [1, -correlation], rng.normal(size=(steps + 50, groups)), axis=0
    )[50:]
    return np.exp(0.3 * noise + rng.normal(size=(steps, 1)))  # (T, G)


def rows_of(norms, layer="conv"):
    return [
        {"step": step, "layer": layer, "conv_group": group, "groups": norms.shape[1], "l2": value}
        for step, line in enumerate(norms.tolist())
        for group, value in enumerate(line)
    ]


# False alarms: 3 to 7 % of 1,000 null layers have p < 0.05


def null_filters(rng):
    return rng.gamma(4.5, size=(4, 4)), {"within_rows": False, "statistic": variation}  # 4 filters in 4 groups


def null_steps(rng):
    squares = correlated(rng, 100, 4, 0.6) ** 2
    blocks = blocks_of_steps(squares / squares.sum(axis=1, keepdims=True))
    return blocks, {"within_rows": True, "statistic": variation}


def null_seeds(rng):
    shares = rng.dirichlet(np.full(4, 2.0), size=10)
    ranks = rank_rows(shares)
    return shares, {"within_rows": True, "statistic": lambda sums: agreement(ranks, sums), "scores": ranks}


@pytest.mark.parametrize("draw", [null_filters, null_steps, null_seeds])
def test_false_alarms_come_at_the_stated_rate(draw):
    rng = np.random.default_rng(1)
    found = []
    for _ in range(LAYERS):
        table, options = draw(rng)
        found.append(permutation_test(table, rng, n_resamples=RESAMPLES, **options))
    of_layers = np.array([each.pvalue for each in found])
    of_groups = np.array([each.group_pvalues.min() for each in found])
    covered = np.array([(each.low[0] <= 1) & (each.high[0] >= 1) for each in found])
    assert 0.03 <= np.mean(of_layers < 0.05) <= 0.07
    assert 0.03 <= np.mean(of_groups < 0.05) <= 0.07  # any of 4 groups is named
    assert 0.93 <= covered.mean() <= 0.97
    assert scipy.stats.kstest(of_layers, "uniform").pvalue > 0.001


def test_steps_taken_for_independent_would_raise_false_alarms():
    """The test above can fail: without blocks, correlated steps show differences in a quarter of the null layers."""
    rng, alarms = np.random.default_rng(2), 0
    for _ in range(100):
        squares = correlated(rng, 100, 4, 0.6) ** 2
        shares = squares / squares.sum(axis=1, keepdims=True)
        alarms += permutation_test(shares, rng, within_rows=True, n_resamples=99, statistic=variation).pvalue < 0.05
    assert alarms > 20


def test_beside_a_planted_group_intervals_keep_their_level_and_others_are_not_named():
    rng, covered, alarms = np.random.default_rng(3), [], 0
    for _ in range(500):
        table = rng.gamma(4.5, size=(6, 4)) * [1, 1, 1.7**2, 1]
        found = permutation_test(table, rng, within_rows=False, n_resamples=199, statistic=variation)
        covered.append(found.low[2] <= 1.7 <= found.high[2])
        alarms += min(found.group_pvalues[[0, 1, 3]]) <= 0.05
    assert 0.92 <= np.mean(covered) <= 0.98
    assert alarms <= 0.07 * 500


def test_one_large_group_does_not_make_small_ones_of_the_others():
    rng = np.random.default_rng(4)
    table = rng.uniform(1, 2, size=(12, 4)) * [1, 9, 1, 1]
    found = permutation_test(table, rng, within_rows=True, n_resamples=999, statistic=variation)
    assert (found.group_pvalues <= 0.05).tolist() == [False, True, False, False]
    assert found.high[2] < 1  # although this one is smaller than the mean of the others


def test_a_layer_at_which_all_groups_are_equal_by_ties_is_never_an_alarm():
    for within_rows in (False, True):
        found = permutation_test(
            np.ones((6, 4)), np.random.default_rng(0), within_rows=within_rows, n_resamples=99, statistic=variation
        )
        assert found.pvalue == 1 and found.group_pvalues.tolist() == [1] * 4 and found.ratios.tolist() == [1] * 4


# The numbers of SciPy


@pytest.mark.parametrize(("within_rows", "kind"), [(False, "independent"), (True, "samples")])
def test_pvalues_are_those_of_scipys_exact_permutation_test(within_rows, kind):
    table = np.random.default_rng(5).gamma(2, size=(3, 3)) * [1, 1, 2.5]

    def statistic(*columns, axis=-1):
        return variation(np.stack([np.sum(column, axis=axis) for column in columns], axis=-1))

    exact = scipy.stats.permutation_test(
        list(table.T), statistic, permutation_type=kind, alternative="greater", n_resamples=np.inf, vectorized=True
    )
    found = permutation_test(
        table, np.random.default_rng(0), within_rows=within_rows, n_resamples=19_999, statistic=variation
    )
    assert found.statistic == pytest.approx(exact.statistic, rel=1e-12)
    assert found.pvalue == pytest.approx(exact.pvalue, abs=4 * math.sqrt(exact.pvalue / 20_000))


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(2, 8), groups=st.integers(3, 9), seed=st.integers(0, 10**6), ties=st.booleans())
def test_ranks_and_agreement_are_those_of_scipy(rows, groups, seed, ties):
    rng = np.random.default_rng(seed)
    table = rng.integers(0, 4, size=(rows, groups)) * 1.0 if ties else rng.normal(size=(rows, groups))
    ranks = rank_rows(table)
    assert np.array_equal(ranks, scipy.stats.rankdata(table, axis=1))
    if np.ptp(ranks) > 0:
        friedman = scipy.stats.friedmanchisquare(*table.T).statistic
        assert rows * (groups - 1) * agreement(ranks, ranks.sum(axis=0)) == pytest.approx(friedman, rel=1e-9)


def test_the_pvalue_of_many_seeds_is_that_of_friedmans_test():
    rng = np.random.default_rng(6)
    table = rng.normal(size=(40, 8)) + 0.25 * np.arange(8) / 7
    shares = np.exp(table) / np.exp(table).sum(axis=1, keepdims=True)
    comparison = compare_seeds([rows_of(np.sqrt(line)[None]) for line in shares])
    expected = scipy.stats.friedmanchisquare(*table.T).pvalue
    assert comparison.layers[0].pvalue == pytest.approx(expected, abs=0.015) and 0.02 < expected < 0.9


def test_holm_is_its_definition():
    rng = np.random.default_rng(7)
    for count in (1, 2, 5, 20):
        pvalues = rng.uniform(0, 0.5, size=count)
        for alpha in np.linspace(0.005, 0.995, 100):
            ordered, rejected = sorted(pvalues), set()
            for position, pvalue in enumerate(ordered):  # steps down until a p-value is too large
                if pvalue > alpha / (count - position):
                    break
                rejected.add(pvalue)
            assert {p for p, corrected in zip(pvalues, holm(pvalues)) if corrected <= alpha} == rejected


def test_autocorrelation_time_of_an_autoregressive_process():
    rng = np.random.default_rng(8)
    for correlation in (0.0, 0.5, 0.8):
        series = np.log(correlated(rng, 20_000, 4, correlation))
        series -= series.mean(axis=1, keepdims=True)
        assert autocorrelation_time(series) == pytest.approx((1 + correlation) / (1 - correlation), rel=0.1)
    short = [np.log(correlated(rng, 300, 8, 0.8)) for _ in range(40)]
    times = [autocorrelation_time(series - series.mean(axis=1, keepdims=True)) for series in short]
    assert np.mean(times) == pytest.approx(9, rel=0.1)  # without the correction for short series it is 7.2
    assert autocorrelation_time(np.ones((5, 2))) == 1


def test_the_least_pvalue_counts_the_ways_to_deal():
    assert least_pvalue(3, 2, within_rows=False, n_resamples=9999) == pytest.approx(1 / 10)  # 6!/(3!·3!)/2
    assert least_pvalue(5, 2, within_rows=True, n_resamples=9999) == pytest.approx(1 / 16)
    assert least_pvalue(1, 8, within_rows=False, n_resamples=9999) == 1  # one filter per group
    assert least_pvalue(8, 8, within_rows=True, n_resamples=99) == 0.01


# What holds for any data


def planted(seed, special=None, factor=1.0, groups=8, filters=8):
    grad = np.random.default_rng(seed).normal(size=(groups, filters, 4, 3, 3))
    if special is not None:
        grad[special] *= factor
    return grad.reshape(groups * filters, 4, 3, 3)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([1e-3, 0.5, 1e4]), data=st.data())
def test_what_filters_say(seed, scale, data):
    """Shares of the layer's square; a permutation of the groups permutes; the scale of the layer is no matter."""
    grad = planted(seed)
    rows = compare_groups({"a": grad}, {"a": 8}, n_resamples=99).rows()
    squares = np.array([row["l2"] ** 2 for row in nx.group_grad_norms({"a": grad}, {"a": 8})])
    assert squares.sum() == pytest.approx(np.sum(grad**2), rel=1e-12)
    ratios = [row["l2_to_others"] for row in rows]
    assert ratios == pytest.approx(np.sqrt(7 * squares / (squares.sum() - squares)), rel=1e-12)
    scaled = compare_groups({"a": scale * grad}, {"a": 8}, n_resamples=99).rows()
    for row, other in zip(rows, scaled, strict=True):
        assert all(row[name] == pytest.approx(other[name], rel=1e-9) for name in COMPARISON_COLUMNS[1:])
    order = data.draw(st.permutations(range(8)))
    moved = grad.reshape(8, 8, 4, 3, 3)[order].reshape(grad.shape)
    permuted = compare_groups({"a": moved}, {"a": 8}, n_resamples=99).rows()
    assert [row["l2_to_others"] for row in permuted] == pytest.approx([ratios[group] for group in order], rel=1e-12)
    assert permuted[0]["statistic"] == pytest.approx(rows[0]["statistic"], rel=1e-9)


def test_a_planted_group_is_found_and_none_is_not():
    grads = {"null": planted(0), "planted": planted(1, 5, 1.6)}
    null, found = compare_groups(grads, {"null": 8, "planted": 8}).layers
    assert (null.verdict, null.special, null.differs) == (NOTHING, (), False)
    assert found.special == (5,) and found.differs and found.verdict.startswith("group 5: 1.6")
    rng = np.random.default_rng(9)
    steps = rows_of(correlated(rng, 200, 8, 0.7), "null")
    steps += rows_of(correlated(rng, 200, 8, 0.7) * np.where(np.arange(8) == 2, 0.6, 1), "planted")
    null, found = compare_groups(steps).layers
    assert (null.special, found.special, found.verdict[:9]) == ((), (2,), "group 2: ")
    seeds = [np.exp(0.3 * rng.normal(size=(3, 1, 8)).repeat(10, axis=1)) for _ in range(10)]  # differ within a run
    for run in seeds:
        run[2, :, 7] *= 1.7
    names = ("null", "also null", "planted")
    runs = [[row for name, norms in zip(names, run) for row in rows_of(norms, name)] for run in seeds]
    assert [layer.special for layer in compare_seeds(runs).layers] == [(), (), (7,)]


def test_two_groups_name_the_larger_and_a_gradient_of_groups_without_outlier_names_none():
    (layer,) = compare_groups({"a": planted(0, 1, 2.0, groups=2)}, {"a": 2}).layers
    assert layer.special == (1,)
    grad = planted(3) * np.repeat([0.9, 0.9, 0.9, 0.9, 1.1, 1.1, 1.1, 1.1], 8)[:, None, None, None]
    (layer,) = compare_groups({"a": grad}, {"a": 8}).layers
    assert layer.differs and layer.special == () and layer.verdict == "groups differ, but no single one stands out"


def test_a_network_gives_what_its_gradients_give():
    model = nx.models.resnext_small(rng=0)
    x = np.random.default_rng(0).normal(size=(4, 1, 8, 8)).astype("float32")
    with pytest.raises(BackwardError):
        compare_groups(model)
    model(x)
    model.backward(np.random.default_rng(1).normal(size=(4, 10)).astype("float32"))
    convs = {name: conv for name, conv in nx.gradients.conv_layers(model).items() if conv.groups > 1}
    live = compare_groups(model, n_resamples=99)
    grads = {name: conv.weight.grad for name, conv in convs.items()}
    stored = compare_groups(grads, {name: conv.groups for name, conv in convs.items()}, n_resamples=99)
    assert live.rows() == stored.rows() and [layer.layer for layer in live.layers] == list(convs)


def test_common_factors_of_a_step_and_steps_without_numbers_change_nothing():
    norms = correlated(np.random.default_rng(4), 60, 4, 0.3)
    expected = compare_groups(rows_of(norms)).rows()
    factors = 10.0 ** np.random.default_rng(5).integers(-200, 100, size=(60, 1))
    for row, wanted in zip(compare_groups(rows_of(norms * factors)).rows(), expected, strict=True):
        assert list(row.values())[1:] == pytest.approx(list(wanted.values())[1:], rel=1e-9)
    rows = rows_of(np.vstack([norms, np.full((1, 4), math.nan), np.zeros((1, 4)), np.full((1, 4), math.inf)]))
    rows[-9] = {**rows[-9], "l2": None}
    shuffled = np.random.default_rng(6).permutation(len(rows))
    assert compare_groups([rows[index] for index in shuffled]).rows() == expected
    (shares,) = shares_by_layer(rows).values()
    assert shares.shape == (60, 4) and np.allclose(shares.sum(axis=1), 1, rtol=0, atol=1e-15)
    without_steps = [{name: value for name, value in row.items() if name != "step"} for row in rows_of(norms)]
    assert compare_groups(without_steps).rows() == expected


def test_ratios_of_groups_that_are_zero():
    assert ratios_to_others(np.array([0.0, 0.0, 4.0])).tolist() == [0, 0, math.inf]
    assert np.isnan(ratios_to_others(np.zeros(2))).all()
    (layer,) = compare_groups({"a": np.zeros((8, 1, 1, 1))}, {"a": 2}).layers
    assert layer.verdict == NOTHING


def test_layers_that_cannot_be_tested_say_why_and_are_no_part_of_the_correction():
    grads = {"depthwise": planted(0, filters=1), "few": planted(1, groups=2, filters=2), "enough": planted(2, 3, 2.0)}
    depthwise, few, enough = compare_groups(grads, {"depthwise": 8, "few": 2, "enough": 8}).layers
    assert depthwise.verdict == "not tested: its groups have 1 filter each, so no p is below 1"
    assert few.verdict == "not tested: its groups have 2 filters each, so no p is below 0.33"
    seeds = compare_seeds([rows_of(np.array([[1.0, 2.0]])), rows_of(np.array([[1.0, 3.0]]))])
    assert seeds.layers[0].verdict == "not tested: there are 2 seeds, so no p is below 0.5"
    assert math.isnan(few.pvalue) and not few.differs and enough.pvalue == enough.pvalue_holm
    drifting = np.exp(np.cumsum(np.random.default_rng(0).normal(size=(100, 4)), axis=0) / 10)
    comparison = compare_groups(rows_of(drifting))
    assert comparison.layers[0].verdict.startswith("not tested: it has 100 steps, and their correlation calls for ")
    assert math.isnan(comparison.rows()[0]["p"]) and " - " in str(comparison)
    assert "it has 1 step, and" in compare_groups(rows_of(drifting[:1])).layers[0].verdict


# What is refused


ROWS, GRADS = rows_of(np.ones((2, 2))), {"a": planted(0), "b": planted(1)}


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (InvalidValueError, "no layer has more than one", lambda: compare_groups({"a": planted(0)}, {"a": 1})),
        (InvalidValueError, "no layer has more than one", lambda: compare_groups(rows_of(np.ones((3, 1))))),
        (ShapeError, "groups must divide", lambda: compare_groups({"a": np.ones((5, 1, 1, 1))}, {"a": 2})),
        (InvalidValueError, "not finite", lambda: compare_groups({"a": np.full((4, 1, 1, 1), np.nan)}, {"a": 2})),
        (InvalidTypeError, "value names a column", lambda: compare_groups({"a": planted(0)}, {"a": 8}, value="rms")),
        (InvalidTypeError, "groups goes with", lambda: compare_groups(ROWS, {"conv": 2})),
        (InvalidValueError, "there are no rows", lambda: compare_groups([])),
        (InvalidTypeError, "expected a list of rows", lambda: compare_groups(3)),
        (InvalidTypeError, "expected a list of rows", lambda: compare_groups("norms.csv")),
        (InvalidTypeError, "a row is of type int", lambda: compare_groups([3])),
        (InvalidValueError, "no column rms", lambda: compare_groups(ROWS, value="rms")),
        (InvalidValueError, "negative values of l2", lambda: compare_groups(rows_of(-np.ones((2, 2))))),
        (InvalidValueError, "that are no numbers", lambda: compare_groups([{**row, "l2": "x"} for row in ROWS])),
        (InvalidValueError, "no step with finite", lambda: compare_groups(rows_of(np.zeros((2, 2))))),
        (InvalidValueError, "has 0 rows of conv group 1 at step 1: [^;]*step$", lambda: compare_groups(ROWS[:-1])),
        (
            InvalidValueError,
            "2 rows of conv group 0 at step 0: .* each run separately",
            lambda: compare_groups([*ROWS, *ROWS]),
        ),
        (InvalidValueError, "groups=2 and 4", lambda: compare_groups([*ROWS, *rows_of(np.ones((2, 4)))])),
        (InvalidValueError, "conv_group=2 and groups=2", lambda: compare_groups([{**ROWS[0], "conv_group": 2}])),
        (InvalidValueError, "conv_group=-1 and", lambda: compare_groups([{**ROWS[0], "conv_group": -1}])),
        (InvalidValueError, "alpha must lie between", lambda: compare_groups(ROWS, alpha=0)),
        (InvalidTypeError, "alpha must be a number", lambda: compare_groups(ROWS, alpha="5 %")),
        (InvalidValueError, "n_resamples must be at least 1", lambda: compare_groups(ROWS, n_resamples=0)),
        (
            InvalidValueError,
            "18 permutations allow no p below 1/19, .* 19$",
            lambda: compare_groups(ROWS, n_resamples=18),
        ),
        (InvalidValueError, "use at least 39", lambda: compare_groups(GRADS, {"a": 8, "b": 8}, n_resamples=38)),
        (InvalidValueError, "rng must be None, a seed", lambda: compare_groups(ROWS, rng=-1)),
        (InvalidTypeError, "expected the rows of each run", lambda: compare_seeds(3)),
        (InvalidValueError, "runs has 1 run", lambda: compare_seeds([ROWS])),
        (InvalidValueError, "^run 1: there are no rows", lambda: compare_seeds([ROWS, []])),
        (
            InvalidValueError,
            "runs 0 and 2 have the same",
            lambda: compare_seeds([ROWS, rows_of(np.eye(2) + 1)[:2], ROWS]),
        ),
        (InvalidValueError, "differ in conv, other", lambda: compare_seeds([ROWS, rows_of(np.ones((2, 2)), "other")])),
        (InvalidValueError, "2 groups in run 0 and 4", lambda: compare_seeds([ROWS, rows_of(np.ones((2, 4)))])),
    ],
)
def test_bad_input_is_refused_with_a_reason(error, message, call):
    with pytest.raises(error, match=message):
        call()


# The command


def write(path, norms):
    with open_rows(str(path), ["step", "layer", "conv_group", "groups", "l2"]) as file:
        file.write(rows_of(norms))
    return str(path)


def test_the_command_tests_one_run_and_several(tmp_path, capsys):
    rng = np.random.default_rng(10)
    run = correlated(rng, 100, 4, 0.5) * [1, 2, 1, 1]
    file, out = write(tmp_path / "norms.csv", run), tmp_path / "groups.jsonl"
    assert cli.main(["gradnorms", "test", file, "-o", str(out), "--from-step", "1"]) == 0
    text = capsys.readouterr().out
    assert "blocks" in text and "group 1" in text and "compare several seeds" in text and "4 rows in " in text
    (layer,) = compare_groups(rows_of(run)[4:]).layers
    assert [row["special"] for row in read_rows(out)] == [0, 1, 0, 0] and f"{layer.pvalue:.4f}" in text
    files = [write(tmp_path / f"{seed}.npz", np.exp(rng.normal(size=(3, 4)))) for seed in range(6)]
    assert cli.main(["gradnorms", "test", *files, "--layers", "conv", "--permutations", "99"]) == 0
    text = capsys.readouterr().out
    assert "agreement" in text and NOTHING in text
    assert cli.main(["gradnorms", "test", files[0], "--from-step", "9"]) == 2
    assert cli.main(["gradnorms", "test", file, "-o", str(out)]) == 2
    assert cli.main(["gradnorms", "test", file, "-o", str(tmp_path / "groups.txt")]) == 2
    assert cli.main(["gradnorms", "test", file, "--seed", "-1"]) == 2
    captured = capsys.readouterr()
    assert not captured.out and "argument --seed: must be at least 0" in captured.err
    assert cli.main(["gradnorms", "test", file, "-o", "-"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("layer,conv_group,groups,samples") and "variation" in captured.err
