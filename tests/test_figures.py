from conftest import random_outcomes

from offramp.calibration import calibrate
from offramp.calibration.settings import Settings
from offramp.evaluation.results import evaluate_policies, write_tables
from offramp.figures.tradeoff import draw_tradeoff
from offramp.scores.scoring import Scoring


def test_the_tradeoff_is_drawn_even_if_every_policy_is_the_full_network(rng, costs, tmp_path):
    outcomes = random_outcomes(rng, n=40)
    settings = Settings([("certified", 0.001)], ("certified", 0.001))
    policies = calibrate(outcomes, costs, Scoring.plain("entropy", outcomes.exits), settings)
    report = evaluate_policies(policies, outcomes, costs)
    write_tables(tmp_path, report)
    draw_tradeoff(tmp_path, tmp_path / "tradeoff.csv")
    assert (tmp_path / "tradeoff.png").exists()
