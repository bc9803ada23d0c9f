"""Planning: what loss can n labelled rows certify, before a single row is labelled?

A policy damages some answers (right in the full network, wrong early: D = +1) and rescues others (D = −1). Its
discordance is P(D ≠ 0), its loss E[D]. The exact paired test (certificates.paired, ordered by the score) rejects
E[D] >= max_loss at level delta; power is the probability that it does, given discordance and true loss. Losses and
shares are fractions, n counts rows of the certify fold.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, log

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, ndtri

from offramp.project.errors import InputError
from offramp.statistics import exact_tests as paired

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
GAMMA = paired.GAMMA["score"]  # what the p-value pays for not knowing the discordance
LEAST_DELTA = 1e-3  # below, the test's gamma is smaller and its tolerance counts
MANY = 100  # expected changed answers from which on the normal critical value is as good as the exact one
GRID = 33  # discordances at which a region's size is computed
LEAST_SCORE = -7.0  # tables further out have no probability worth summing
POWER = 0.8  # where nobody asks for another
LARGEST_LOSS = 0.5  # the search for a certifiable loss ends here
RESOLUTION = 1e-5  # of a certifiable loss
NORMAL_ROWS = 10_000_000  # from here on the number of rows needed is the normal formula's
ROWS = (500, 1000, 2500, 5000, 10_000, 20_000)
DISCORDANCES = (0.01, 0.02, 0.05, 0.1)


@dataclass(frozen=True)
class Plan:
    """What the user asks. Raises InputError for a number out of its range, naming the option."""

    max_loss: float = 0.01
    delta: float = 0.1
    labels: int | None = None
    discordance: float | None = None
    power: float = POWER

    def __post_init__(self) -> None:
        n, q = self.labels, self.discordance
        checks = [
            ("--max-loss", self.max_loss, 1e-4 <= self.max_loss <= LARGEST_LOSS, "in [0.0001, 0.5]; 0.01 is one point"),
            ("--delta", self.delta, LEAST_DELTA <= self.delta <= 0.5, "in [0.001, 0.5]"),
            ("--power", self.power, 0.01 <= self.power <= 0.999, "in [0.01, 0.999]"),
            ("--labels", n, n is None or 1 <= n <= NORMAL_ROWS, f"of rows in [1, {NORMAL_ROWS}]"),
            ("--discordance", q, q is None or 1e-4 <= q <= 1, "in [0.0001, 1], a share of rows"),
        ]
        for option, value, fits, allowed in checks:
            if not fits:
                raise InputError(f"{option} must be a number {allowed}; got {value}")

    @property
    def discordances(self) -> tuple[float, ...]:
        return DISCORDANCES if self.discordance is None else (self.discordance,)

    @property
    def example(self) -> float:
        """Return the discordance that the answer in words assumes."""
        return 0.05 if self.discordance is None else self.discordance

    @property
    def rows(self) -> tuple[int, ...]:
        return tuple(sorted({*ROWS} if self.labels is None else {*ROWS, self.labels}))


@dataclass(frozen=True)
class Row:
    """One line of the table. `certifiable_loss` is a fraction, None where it would exceed LARGEST_LOSS."""

    n: int
    discordance: float
    certifiable_loss: float | None
    power: float  # at the plan's max_loss


def power_at(n: int, max_loss: float, delta: float, discordance: float, loss: float = 0.0) -> float:
    """Return the probability that the certificate of `max_loss` is granted to a policy with this loss and discordance.

    The exact probability of a region that is nearly the shipped test's: up to MANY expected changed answers its
    critical scores come from the size of regions on a grid of discordances, beyond from the normal distribution.
    Largest difference from the power of the shipped p-value found: 0.009 (too low) in 168 settings of n 150 to 1000,
    discordance .01 to .1, max_loss .005 to .02, delta .05 and .1; 0.005 in 9 with more than MANY changed answers; 0.011
    at delta .3 and 0.034 at .5. Power rises with n in teeth, up to 0.04 deep where few answers change.

    Raises ValueError unless n >= 1, max_loss and delta in (0, 1), discordance in (0, 1] and |loss| <= discordance.
    """
    if not (n >= 1 and 0 < max_loss < 1 and 0 < delta < 1 and abs(loss) <= discordance <= 1 and discordance > 0):
        raise ValueError(f"{n=}, {max_loss=}, {delta=}, {discordance=}, {loss=}: one is out of its range")
    level = delta - GAMMA - paired.TOLERANCE  # the shipped p-value is up to its TOLERANCE too large
    if level <= 0:
        return 0.0
    changed = _window(n, discordance, paired.WINDOW)
    critical = _critical_values(n, max_loss, level, discordance, changed)
    region = paired.Region(n, int(changed[0]), paired.most_damage(n, max_loss, critical + 1e-10, changed))
    return min(1.0, paired.probability(region, discordance, loss))


def fewest_rows(max_loss: float, delta: float) -> int:
    """Return the fewest rows that certify a policy which changes no answer: ln(delta − gamma) / ln(1 − max_loss).

    For delta >= .05; for less the test needs up to 7 % more (a few rescued answers are as extreme), which are counted.
    At delta .1 and max_loss .01 it is 230, with or without gamma. With fewer, only a policy that rescues clearly more
    than it damages can be certified: 5 rescued and none damaged of 150 rows have p-value .005 at a max_loss of .01.
    Raises ValueError for a delta of at most GAMMA.
    """
    least = ceil(log(delta - GAMMA) / log(1 - max_loss))
    found = _search(lambda n: paired.p_value(n, 0, 0, max_loss) <= delta, least, least, 2 * least)
    assert found is not None, f"twice {least} rows without a changed answer were not certified"
    return found


def rows_needed(
    max_loss: float, delta: float, discordance: float, power: float = POWER, loss: float = 0.0
) -> int | None:
    """Return the fewest rows from which on the certificate has this power; None if loss >= max_loss.

    None, not computed, for a delta below LEAST_DELTA too.

    At least `fewest_rows`; unless it is that, one row fewer has less power. Power rises in teeth: still fewer rows may
    happen to have it too, so the number returned follows the last failure at twelve places up to 20 % further on.
    Beyond NORMAL_ROWS it is the normal formula's. Raises ValueError where |loss| > discordance.
    """
    if loss >= max_loss or delta < LEAST_DELTA:
        return None
    least = fewest_rows(max_loss, delta)
    guess = _normal_rows(max_loss, delta, discordance, power, loss)
    if guess > NORMAL_ROWS and abs(loss) <= discordance:
        return ceil(guess)

    def enough(n: int) -> bool:
        return power_at(n, max_loss, delta, discordance, loss) >= power

    found = _search(enough, ceil(guess), least, 10 * NORMAL_ROWS)
    if found is None or found * discordance > MANY:
        return found
    step = max(1, found // 60)
    failures = [n for n in range(found + step, found + 12 * step + 1, step) if not enough(n)]
    return _search(enough, failures[-1] + step, failures[-1], 10 * NORMAL_ROWS) if failures else found


def certifiable_loss(n: int, delta: float, discordance: float, power: float, loss: float = 0.0) -> float | None:
    """Return the smallest max_loss that n rows certify with this power, to RESOLUTION; None if above LARGEST_LOSS.

    Like power it moves in teeth: where few answers change, a slightly larger max_loss may have a little less power.
    """
    floor = max(loss, 0.0)

    def enough(steps: int) -> bool:
        return power_at(n, steps * RESOLUTION, delta, discordance, loss) >= power

    guess = floor + max(0.0, ndtri(power) - ndtri(delta)) * (discordance / n) ** 0.5
    first, last = int(floor / RESOLUTION) + 1, int(LARGEST_LOSS / RESOLUTION)
    found = _search(enough, int(guess / RESOLUTION), first, last)
    return None if found is None else found * RESOLUTION


def table(plan: Plan) -> list[Row]:
    """Return a row per number of certify rows and discordance, ascending; the policy's true loss is 0."""
    return [
        Row(n, q, certifiable_loss(n, plan.delta, q, plan.power), power_at(n, plan.max_loss, plan.delta, q))
        for n in plan.rows
        for q in plan.discordances
    ]


def _critical_values(n: int, max_loss: float, level: float, discordance: float, changed: Ints) -> Floats:
    """Return, per number of changed answers, the largest score that rejects: the p-value's supremum, inverted.

    For each discordance of a grid the tables are summed in the order of their score until `level` is used up; a number
    of changed answers takes the least of those scores over its own confidence interval. Infinite where the interval
    lies below max_loss: too few answers changed.
    """
    if n * discordance > MANY:
        return np.full(len(changed), ndtri(level))
    inner = _window(n, discordance, 5.0)  # the few further out take the values of the outermost
    intervals = np.array([paired.discordance_interval(int(count), n, GAMMA) for count in inner])
    low, high = np.maximum(intervals[:, 0], max_loss), intervals[:, 1]
    possible = high >= max_loss
    if not possible.any():
        return np.full(len(changed), np.inf)
    grid = np.linspace(low[0] ** 0.5, high[-1] ** 0.5, GRID) ** 2
    largest = _largest_scores(n, max_loss, level, grid)
    start = np.maximum(np.searchsorted(grid, low, "right") - 1, 0)
    end = np.minimum(np.searchsorted(grid, high, "left"), GRID - 1)
    critical = np.array([largest[i : j + 1].min(initial=np.inf) for i, j in zip(start, end, strict=True)])
    critical[~possible] = np.inf
    return critical[np.clip(changed - inner[0], 0, len(inner) - 1)]


def _largest_scores(n: int, max_loss: float, level: float, grid: Floats) -> Floats:
    """Return, per discordance, the largest score z such that tables up to z have probability <= level at max_loss."""
    counts = np.arange(_window(n, grid[0], 5.0)[0], _window(n, grid[-1], 5.0)[-1] + 1)
    changed = np.repeat(counts, counts + 1)
    damaged = np.concatenate([np.arange(count + 1) for count in counts])
    score = paired.score_statistic(2 * damaged - changed, changed, n, max_loss)
    near = np.flatnonzero((score > LEAST_SCORE) & (score < ndtri(level) + 1))
    near = near[np.argsort(score[near], kind="stable")]
    damaged, rescued, same = damaged[near], changed[near] - damaged[near], n - changed[near]
    constant = gammaln(n + 1) - gammaln(damaged + 1) - gammaln(rescued + 1) - gammaln(same + 1)
    shares = np.stack([(grid + max_loss) / 2, (grid - max_loss) / 2, 1 - grid])
    logarithm = np.stack([damaged, rescued, same], axis=1) @ np.log(np.maximum(shares, 1e-300))
    inside = np.cumsum(np.exp(constant[:, None] + logarithm), axis=0) <= level  # (tables, discordances)
    return np.concatenate([[LEAST_SCORE], score[near]])[inside.sum(axis=0)]


def _window(n: int, discordance: float, width: float) -> Ints:
    """Return the numbers of changed answers within `width` standard deviations (and `width`) of the expected one."""
    half = width * (n * discordance * (1 - discordance)) ** 0.5 + width
    return np.arange(max(0, int(n * discordance - half)), min(n, int(n * discordance + half) + 1) + 1)


def _normal_rows(max_loss: float, delta: float, discordance: float, power: float, loss: float) -> float:
    """Return the rows at which the score, taken as normal, has this power; its error is the restricted one."""
    b = discordance + max_loss * loss
    restricted = (b + (b * b - 4 * (max_loss * loss - (1 - discordance) * max_loss**2)) ** 0.5) / 2
    spread = -ndtri(delta) * (restricted - max_loss**2) ** 0.5 + ndtri(power) * max(discordance - loss**2, 0.0) ** 0.5
    return float(max(spread, 0.0) / (max_loss - loss)) ** 2


def _search(enough: Callable[[int], bool], guess: int, least: int, most: int) -> int | None:
    """Return a number that is enough: `least`, or one whose predecessor is not. None: `most` is not enough."""
    high = min(max(guess, least), most)
    while not enough(high):
        if high == most:
            return None
        high = min(most, ceil(1.1 * high))
    low = high
    while enough(low):
        if low <= least:
            return least
        low = max(least, int(low / 1.1))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _limit(plan: Plan) -> str:
    return f"{100 * plan.max_loss:g} point{'' if plan.max_loss == 0.01 else 's'}"


def in_points(loss: float | None) -> str:
    """Return a loss in points, rounded up: what is printed is certified."""
    return f"> {100 * LARGEST_LOSS:g}" if loss is None else f"{ceil(1e4 * loss - 1e-6) / 100:.2f}"
