"""The exact tests against literal enumeration: p-values, regions, sizes, power."""

from math import comb, log

import numpy as np
import pytest
from conftest import SHARED
from scipy.optimize import minimize_scalar

from experiments.certificates.planted import hoeffding_bentkus
from experiments.certificates.size import Cell, rejection_region, size
from offramp.policies.costs import from_parts
from offramp.statistics import exact_tests as paired
from offramp.statistics.exact_tests import (
    ORDERS,
    TOLERANCE,
    Region,
    accuracy_lower_bound,
    accuracy_p_value,
    discordance_interval,
    p_value,
    probability,
)

CLASS_NETWORK = SHARED / "branchynet-cifar10-test-logits.parquet"
COSTS = from_parts("macs", [10, 20, 30, 40], [4, 3, 2, 1])
GRID = 800


class Tables:
    """All tables (damaged, rescued) of n rows, and their probabilities at discordances q and a loss, read aloud."""

    def __init__(self, n, loss):
        self.n, self.loss = n, loss
        both = np.arange(n + 1)
        self.damaged, self.rescued = np.meshgrid(both, both, indexing="ij")
        self.possible = self.damaged + self.rescued <= n
        self.ways = np.array([[comb(n, d) * comb(n - d, r) if d + r <= n else 0 for r in both] for d in both], float)
        self.q = np.linspace(loss, 1, GRID)
        self.grid = self.probabilities(self.q)

    def probabilities(self, q, mean=None):
        """(discordances, damaged, rescued)"""
        q = np.atleast_1d(q)[:, None, None]
        up, down = (q + (self.loss if mean is None else mean)) / 2, (q - (self.loss if mean is None else mean)) / 2
        same = np.where(self.possible, self.n - self.damaged - self.rescued, 0)
        return self.ways * up**self.damaged * np.maximum(down, 0) ** self.rescued * np.maximum(1 - q, 0) ** same

    def as_extreme(self, damaged, rescued, order):
        """Which tables are at most the seen one in the order, with all that have less damage or more rescues."""
        key = self.damaged - self.rescued
        if order == "score":
            with np.errstate(all="ignore"):  # impossible tables
                key = paired.score_statistic(
                    self.damaged - self.rescued, self.damaged + self.rescued, self.n, self.loss
                )
        inside = (key <= key[damaged, rescued] + 1e-9) & self.possible
        inside = np.maximum.accumulate(inside[::-1], axis=0)[::-1]  # less damage
        return np.maximum.accumulate(inside, axis=1) & self.possible  # more rescues

    def supremum(self, inside, low, high):
        """The largest probability for q in [low, high]: on a grid, then between its best point's neighbours."""

        def at(q):
            return float((self.probabilities(q)[0] * inside).sum())

        values = self.grid[:, inside].sum(axis=1) * ((self.q >= low) & (self.q <= high))
        ends = max(low, self.q[max(values.argmax() - 1, 0)]), min(high, self.q[min(values.argmax() + 1, GRID - 1)])
        best = max(at(low), at(high), values.max())
        return max(best, -minimize_scalar(lambda q: -at(q), bounds=ends, method="bounded").fun) if best else best


def some_tables(n, rng):
    everything = [(d, r) for d in range(n + 1) for r in range(n + 1 - d)]
    return everything if n <= 4 else [everything[i] for i in rng.choice(len(everything), 5, replace=False)]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("loss", [0.01, 0.1])
def test_paired_p_value_is_the_supremum_over_all_tables_read_aloud(rng, order, loss):
    for n in range(1, 31):
        tables = Tables(n, loss)
        for damaged, rescued in some_tables(n, rng):
            low, high = discordance_interval(damaged + rescued, n, 1e-4)
            p = p_value(n, damaged, rescued, loss, order, 1e-4)
            if high < loss:
                assert p == 1e-4
                continue
            supremum = tables.supremum(tables.as_extreme(damaged, rescued, order), max(low, loss), high)
            assert min(1, supremum + 1e-4) - 1e-12 <= p <= min(1, supremum + TOLERANCE + 1e-4) + 1e-9


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("loss", [0.01, 0.1])
def test_the_probability_of_a_region_is_that_of_its_tables(rng, order, loss):
    for n in range(1, 31):
        tables = Tables(n, loss)
        for damaged, rescued in some_tables(n, rng):
            inside = tables.as_extreme(damaged, rescued, order)
            changed = np.arange(n + 1)
            most = np.array([max([d for d in range(m + 1) if inside[d, m - d]], default=-1) for m in changed])
            found = paired._close(ORDERS[order](n, damaged, rescued, loss, 0, n))
            assert np.minimum(found, changed).tolist() == most.tolist()
            assert (np.diff(found) >= 0).all() and (np.diff(found) <= 1).all(), "the region is not closed"
            for at in (0, GRID // 9, GRID // 2, GRID - 1):
                literal = tables.grid[at, inside].sum()
                assert probability(Region(n, 0, most), tables.q[at], loss) == pytest.approx(literal, abs=1e-10)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("n", "loss"), [(4, 0.2), (11, 0.05), (16, 0.1)])
def test_a_p_value_is_at_most_alpha_with_probability_at_most_alpha(order, n, loss):
    tables = Tables(n, loss)
    places = np.argwhere(tables.possible)
    p = np.array([p_value(n, int(d), int(r), loss, order, 1e-4) for d, r in places])
    ascending = np.argsort(p, kind="stable")
    for mean in (loss, loss + 0.07, loss + 0.3):  # at the boundary of the hypothesis and inside it
        chances = tables.probabilities(np.linspace(mean, 1, 60), mean)[:, *places[ascending].T]
        for at_most in chances.cumsum(axis=1):
            last = np.append(np.diff(p[ascending]) > 0, True)  # of equal p-values
            assert (at_most[last] <= p[ascending][last] + 1e-12).all()


def test_the_score_uses_the_likeliest_discordance_that_the_hypothesis_allows():
    for n, damaged, rescued, loss in [(50, 3, 2, 0.02), (200, 9, 4, 0.05), (30, 1, 8, 0.1)]:

        def unlikely(q, d=damaged, r=rescued, n=n, loss=loss):
            return -(d * log((q + loss) / 2) + r * log((q - loss) / 2) + (n - d - r) * log(1 - q))

        q = minimize_scalar(unlikely, bounds=(loss + 1e-9, 1 - 1e-9), method="bounded", options={"xatol": 1e-12}).x
        z = (damaged - rescued - n * loss) / np.sqrt(n * (q - loss**2))
        assert paired.score_statistic(damaged - rescued, damaged + rescued, n, loss) == pytest.approx(z, abs=1e-6)


def test_the_score_order_has_the_more_power():
    most = {order: rejection_region(Cell(order, 300, 0.02, 0.1), 45) for order in ORDERS}
    for q in (0.02, 0.05, 0.08):
        powers = {order: size(region, 300, q, 0.0) for order, region in most.items()}  # of a policy that loses nothing
        assert powers["score"] > powers["difference"] + 0.02


def test_too_few_changes_for_the_hypothesis_leave_the_p_value_at_gamma():
    assert p_value(5000, 3, 1, 0.01) == 1e-4
    assert p_value(5000, 3, 1, 0.01, "difference", 1e-3) == 1e-3


def test_no_rows_prove_nothing():
    assert p_value(0, 0, 0, 0.01) == 1.0
    assert accuracy_p_value(0, 0, 0.9) == 1.0
    assert accuracy_lower_bound(0, 10, 0.1) == 0.0


@pytest.mark.parametrize("table", [(10, 6, 5, 0.1), (10, -1, 5, 0.1), (10, 1, 5, 0.0), (10, 1, 5, 1.0)])
def test_impossible_counts_are_refused(table):
    with pytest.raises(ValueError, match="is no table"):
        p_value(*table)
    with pytest.raises(ValueError, match="difference, score"):
        p_value(10, 1, 1, 0.1, "likelihood")
    with pytest.raises(ValueError, match="impossible"):
        accuracy_p_value(11, 10, 0.5)


@pytest.mark.parametrize("target", [0.5, 0.8, 0.97])
def test_accuracy_p_value_and_bound_equal_the_sums_read_aloud(target):
    for n in range(1, 31):
        for correct in range(n + 1):
            literal = sum(comb(n, k) * target**k * (1 - target) ** (n - k) for k in range(correct, n + 1))
            assert accuracy_p_value(correct, n, target) == pytest.approx(literal, abs=1e-10)
            bound = accuracy_lower_bound(correct, n, 0.1)
            if correct:
                assert accuracy_p_value(correct, n, bound) == pytest.approx(0.1, abs=1e-10)


@pytest.mark.parametrize(("q", "least", "most"), [(0.03, 0.14, 0.17), (0.08, 0.26, 0.31)])
def test_hoeffding_bentkus_is_invalid_for_signed_losses_and_the_paired_test_is_not(q, least, most):
    cell, last = Cell("score", 1000, 0.01, 0.1), 150
    assert least < size(rejection_region(cell, last, hoeffding_bentkus), cell.n, q, cell.max_loss) < most
    small = Cell("score", 400, 0.02, 0.1)
    assert 0.08 < size(rejection_region(small, 42), small.n, 0.04, small.max_loss) <= 0.1
