import math

import numpy as np

from offramp.evaluation.comparison import Comparison
from offramp.policies.replay import Replay


def test_class_intervals_hold_for_all_classes_together(rng):
    """Known truth: class c damages 4 c in a thousand answers and rescues 1 in a hundred."""
    classes, per_class, draws = 6, 300, 400
    damaged, rescued = 0.004 * np.arange(classes) + 0.01, 0.01
    truth = damaged - rescued
    label = np.repeat(np.arange(classes), per_class)
    held = 0
    for _ in range(draws):
        u = rng.random(len(label))
        harmed, helped = u < damaged[label], u > 1 - rescued
        nowhere, costs = np.zeros(len(label), np.intp), np.array([1.0])
        full, policy = Replay(nowhere, ~helped, costs, 1.0), Replay(nowhere, ~harmed, costs, 1.0)
        rows = Comparison(policy, full, full).classes(label, [str(c) for c in range(classes)])
        held += all(row["loss_low"] <= truth[c] <= row["loss_high"] for c, row in enumerate(rows))
    assert held / draws >= 0.95 - 2 * math.sqrt(0.95 * 0.05 / draws)
