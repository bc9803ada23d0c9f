import math

import pytest

from offramp.policies.policy import Policies, Policy, named_policy
from offramp.project.errors import InputError
from offramp.scores.scoring import Scoring

EXITS = ["exit_1", "exit_2", "exit_3"]
SHARED = Policy((0.4, 0.4, math.inf), method="shared", target=0.9)
HARD = Policy((None, None, math.inf), method="certified", target=0.01, feasible=False, reason="too few labels")
WARM = Scoring("margin", {"exit_1": 2.0, "exit_2": 1.5, "exit_3": 1.0})
POLICIES = Policies(WARM, [SHARED, HARD], HARD)


def test_a_policy_of_the_file_comes_with_the_files_scoring():
    found = named_policy("shared@0.9", POLICIES)
    assert (found.name, found.thresholds, found.scoring) == ("shared@0.9", SHARED.thresholds, WARM)
    assert found.feasible
    assert found.warning == ""


def test_the_selected_policy_keeps_its_own_name_and_says_that_it_is_infeasible():
    found = named_policy("selected", POLICIES)
    assert found.name == "certified@0.01"
    assert not found.feasible
    assert found.warning == "certified@0.01 is INFEASIBLE: too few labels"


def test_full_is_the_network_without_early_exit():
    found = named_policy("full", POLICIES)
    assert found.thresholds == (None, None, math.inf)
    assert found.scoring == Scoring.plain("entropy", EXITS)


@pytest.mark.parametrize(("name", "cutoff"), [("cutoff@0.6", 0.6), ("cutoff@0.60", 0.6), ("cutoff@0", 0.0)])
def test_a_cutoff_is_one_entropy_at_every_side_exit_at_temperature_1(name, cutoff):
    found = named_policy(name, POLICIES)
    assert found.name == f"cutoff@{cutoff:g}"
    assert found.thresholds == (cutoff, cutoff, math.inf)
    assert found.scoring == Scoring.plain("entropy", EXITS)


def test_a_cutoff_of_many_digits_keeps_them_in_its_name():
    assert named_policy("cutoff@0.123456789", POLICIES).name == "cutoff@0.123456789"


@pytest.mark.parametrize("name", ["shared@0.8", "cutoff", "", "Selected"])
def test_an_unknown_name_is_refused_with_the_known_ones(name):
    with pytest.raises(InputError, match=r"known: selected, full, cutoff@X, shared@0.9, certified@0.01$"):
        named_policy(name, POLICIES)


@pytest.mark.parametrize("name", ["cutoff@", "cutoff@-1", "cutoff@nan", "cutoff@inf", "cutoff@x"])
def test_a_cutoff_that_is_no_entropy_is_refused(name):
    with pytest.raises(InputError, match="a number from 0"):
        named_policy(name, POLICIES)
