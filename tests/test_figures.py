from conftest import random_outcomes
from offramp.calibration import calibrate
from offramp.evaluation import measure, write_tradeoff
from offramp.figures.tradeoff import draw_tradeoff
from offramp.scoring import Scoring
from offramp.settings import Settings


def test_the_tradeoff_is_drawn_even_if_every_policy_is_the_full_network(rng, costs, tmp_path):
    outcomes = random_outcomes(rng, n=40)
    settings = Settings([("certified", 0.001)], ("certified", 0.001))
    policies = calibrate(outcomes, costs, Scoring.plain("entropy", outcomes.exits), settings)
    report = measure(policies, outcomes, costs)
    write_tradeoff(tmp_path / "t.csv", report)
    draw_tradeoff(tmp_path, tmp_path / "t.csv")
    assert (tmp_path / "tradeoff.png").exists()
