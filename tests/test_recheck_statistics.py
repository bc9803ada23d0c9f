import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import beta, multinomial

from offramp.check.p_values import extreme_damage, paired_p_value, score


def test_paired_p_value_is_that_of_all_tables_enumerated():
    """Twelve rows, every table, the restricted likelihood maximised numerically: nothing but the definition."""
    n, loss, gamma = 12, 0.1, 1e-4
    tables = np.array([(d, r, n - d - r) for d in range(n + 1) for r in range(n + 1 - d)])

    def statistic(damaged, rescued, same):
        def against(q):
            return -(damaged * math.log(q + loss) + rescued * math.log(q - loss) + same * math.log(1 - q))

        q = minimize_scalar(against, bounds=(loss + 1e-9, 1 - 1e-9), method="bounded", options={"xatol": 1e-10}).x
        return (damaged - rescued - n * loss) / math.sqrt(n * (q - loss**2))

    value = np.array([statistic(*table) for table in tables])
    for damaged, rescued in [(0, 0), (0, 2), (1, 1), (2, 5), (1, 0)]:
        seen = value[(tables == (damaged, rescued, n - damaged - rescued)).all(axis=1)][0]
        extreme = value <= seen + 1e-6
        most = extreme_damage(n, damaged, rescued, loss, "score", 0, n)
        closed = tables[:, 0] <= most[tables[:, 0] + tables[:, 1]]
        assert (closed >= extreme).all()
        for table in tables[closed & ~extreme]:  # there for closure alone: some extreme table dominates it
            assert ((tables[extreme, 0] >= table[0]) & (tables[extreme, 1] <= table[1])).any()
        low = max(
            loss, 0.0 if damaged + rescued == 0 else beta.ppf(gamma / 2, damaged + rescued, n - damaged - rescued + 1)
        )
        high = beta.ppf(1 - gamma / 2, damaged + rescued + 1, n - damaged - rescued)
        grid = np.linspace(low, high, 500)
        sums = [multinomial.pmf(tables[closed], n, [(q + loss) / 2, (q - loss) / 2, 1 - q]).sum() for q in grid]
        own = paired_p_value(n, damaged, rescued, loss, "score", gamma)
        assert own == pytest.approx(max(sums) + gamma, abs=1e-5)
    assert score(np.array([2]), np.array([3]), n, loss)[0] == pytest.approx(statistic(2, 1, 9), abs=1e-5)
