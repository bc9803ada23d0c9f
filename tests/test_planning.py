"""Planning against the shipped test: its exact power, and what users read."""

import re
import subprocess
import sys
import time

import numpy as np
import pytest
from scipy.special import gammaln, xlogy

from offramp.calibration import planning
from offramp.calibration.planning import Plan, certifiable_loss, fewest_rows, power_at, rows_needed, table
from offramp.commands.plan import describe
from offramp.figures.planning import draw_plan
from offramp.project.errors import InputError
from offramp.statistics.exact_tests import p_value


def exact_power(n, max_loss, delta, discordance, losses) -> list[float]:
    """Sum the trinomial probabilities of all likely tables that the shipped p-value rejects, one sum per true loss."""
    half = 3.8 * np.sqrt(n * discordance * (1 - discordance)) + 2
    first, last = max(0, int(n * discordance - half)), min(n, int(n * discordance + half))
    total, most = np.zeros(len(losses)), int((first + n * max_loss) / 2)  # damaged − rescued is below n·max_loss
    for changed in range(first, last + 1):
        most = min(most + 1, changed)  # one more changed answer allows at most one more damaged
        while most >= 0 and p_value(n, most, changed - most, max_loss) > delta:
            most -= 1
        damaged = np.arange(most + 1)
        total += [trinomial(n, damaged, changed - damaged, discordance, loss).sum() for loss in losses]
    return total.tolist()


def trinomial(n, damaged, rescued, discordance, loss):
    same = n - damaged - rescued
    coefficient = gammaln(n + 1) - gammaln(damaged + 1) - gammaln(rescued + 1) - gammaln(same + 1)
    up, down = (discordance + loss) / 2, (discordance - loss) / 2
    return np.exp(coefficient + xlogy(damaged, up) + xlogy(rescued, down) + xlogy(same, 1 - discordance))


@pytest.mark.parametrize(
    ("n", "max_loss", "delta", "discordance"),
    [
        (40, 0.1, 0.1, 0.3),
        (60, 0.05, 0.2, 0.1),
        (150, 0.005, 0.1, 0.01),
        (150, 0.01, 0.1, 0.05),
        (230, 0.01, 0.1, 0.004),
        (300, 0.02, 0.1, 0.05),
        (400, 0.01, 0.1, 0.01),
        (700, 0.005, 0.1, 0.03),  # the largest difference known
        (800, 0.02, 0.01, 0.05),
        (1000, 0.01, 0.1, 0.03),
        (140, 0.05, 0.1, 0.75),  # beyond MANY changed answers
    ],
)
def test_power_is_within_a_hundredth_of_the_shipped_tests(n, max_loss, delta, discordance):
    losses = [-discordance / 2, 0.0, min(max_loss / 2, discordance)]
    expected = exact_power(n, max_loss, delta, discordance, losses)
    assert [power_at(n, max_loss, delta, discordance, loss) for loss in losses] == pytest.approx(expected, abs=0.01)


def test_power_agrees_with_all_tables_of_twenty_rows():
    n, max_loss, delta, discordance, loss = 20, 0.1, 0.1, 0.4, 0.05
    tables = [(damaged, rescued) for damaged in range(n + 1) for rescued in range(n + 1 - damaged)]
    damaged, rescued = np.array([table for table in tables if p_value(n, *table, max_loss) <= delta]).T
    expected = trinomial(n, damaged, rescued, discordance, loss).sum()
    assert power_at(n, max_loss, delta, discordance, loss) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("n", "discordance", "loss", "expected"),
    [(1000, 0.03, 0, 0.69), (2500, 0.05, 0, 0.83), (5000, 0.05, 0.004, 0.73), (10_000, 0.05, 0.004, 0.91)],
)
def test_power_agrees_with_simulated_certificates(n, discordance, loss, expected):
    assert power_at(n, 0.01, 0.1, discordance, loss) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(("n", "discordance"), [(500, 0.1), (2000, 0.04), (20_000, 0.05)])
def test_power_at_the_hypothesis_is_at_most_delta(n, discordance):
    assert 0.08 < power_at(n, 0.01, 0.1, discordance, 0.01) <= 0.101


@pytest.mark.parametrize("discordance", [0.01, 0.05])
def test_power_rises_with_rows_and_max_loss_and_falls_with_the_loss(discordance):
    rows = [power_at(n, 0.01, 0.1, discordance) for n in (250, 400, 700, 1500, 3000, 6000)]
    limits = [power_at(1000, limit, 0.1, discordance) for limit in (0.002, 0.005, 0.01, 0.02, 0.03)]
    losses = [-power_at(1000, 0.01, 0.1, discordance, loss) for loss in (-0.005, 0, 0.003, 0.006, 0.01)]
    for values in (rows, limits, losses):
        assert (np.diff(values) > 0).all()


def test_between_neighbouring_rows_power_falls_by_less_than_a_tooth():
    power = np.array([power_at(n, 0.01, 0.1, 0.01) for n in range(230, 900, 5)])
    assert 0 < (np.maximum.accumulate(power) - power).max() < 0.04


@pytest.mark.parametrize(("max_loss", "delta"), [(0.01, 0.1), (0.005, 0.1), (0.02, 0.05), (0.1, 0.01), (0.001, 0.2)])
def test_fewest_rows_is_the_first_number_that_certifies_no_change(max_loss, delta):
    least = fewest_rows(max_loss, delta)
    assert p_value(least, 0, 0, max_loss) <= delta < p_value(least - 1, 0, 0, max_loss)
    formula = np.ceil(np.log(delta) / np.log(1 - max_loss))
    assert formula <= least <= (formula + 1 if delta >= 0.05 else 1.08 * formula)  # gamma costs a row at most


def test_with_fewer_rows_only_rescue_certifies():
    assert fewest_rows(0.01, 0.1) == 230
    assert p_value(229, 0, 0, 0.01) > 0.1
    assert p_value(150, 0, 5, 0.01) < 0.01
    assert power_at(150, 0.01, 0.1, 0.05) > 0.2


@pytest.mark.parametrize(
    ("max_loss", "discordance", "loss"),
    [(0.01, 0.05, 0), (0.01, 0.05, 0.004), (0.01, 0.01, 0), (0.02, 0.02, 0), (0.01, 0.001, 0)],
)
def test_rows_needed_has_the_power_and_one_row_fewer_has_not(max_loss, discordance, loss):
    n = rows_needed(max_loss, 0.1, discordance, 0.8, loss)
    assert power_at(n, max_loss, 0.1, discordance, loss) >= 0.8
    assert n == fewest_rows(max_loss, 0.1) or power_at(n - 1, max_loss, 0.1, discordance, loss) < 0.8
    later = np.linspace(n, 1.2 * n, 15).astype(int)
    assert min(power_at(int(m), max_loss, 0.1, discordance, loss) for m in later) >= 0.799


def test_no_number_of_rows_certifies_a_loss_that_is_there():
    assert rows_needed(0.01, 0.1, 0.05, loss=0.01) is None


def test_a_loss_beyond_the_discordance_is_refused():
    with pytest.raises(ValueError, match=r"loss=0\.04"):
        rows_needed(0.1, 0.1, 0.001, loss=0.04)


def test_rows_needed_goes_over_into_the_normal_formula(monkeypatch):
    exact = rows_needed(0.01, 0.1, 0.05, 0.8, 0.008)
    monkeypatch.setattr(planning, "NORMAL_ROWS", 10_000)
    assert rows_needed(0.01, 0.1, 0.05, 0.8, 0.008) == pytest.approx(exact, rel=0.005)


@pytest.mark.parametrize(("n", "discordance", "loss"), [(500, 0.02, 0), (5000, 0.05, 0.004), (20_000, 0.1, 0)])
def test_certifiable_loss_is_the_smallest_with_the_power(n, discordance, loss):
    smallest = certifiable_loss(n, 0.1, discordance, 0.8, loss)
    assert smallest > loss
    assert power_at(n, smallest, 0.1, discordance, loss) >= 0.8
    assert power_at(n, smallest - planning.RESOLUTION, 0.1, discordance, loss) < 0.8


def test_three_rows_certify_nothing():
    assert certifiable_loss(3, 0.1, 0.05, 0.8) is None
    assert "> 50 points" in describe(Plan(labels=3, discordance=0.05), table(Plan(labels=3, discordance=0.05)))


@pytest.mark.parametrize("bad", [{"n": 0}, {"max_loss": 0}, {"delta": 1}, {"discordance": 0}, {"loss": -0.2}])
def test_numbers_out_of_range_have_no_power(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        power_at(**({"n": 100, "max_loss": 0.1, "delta": 0.1, "discordance": 0.1} | bad))


@pytest.mark.parametrize(
    ("option", "value"),
    [("max_loss", 0), ("max_loss", 1), ("delta", 0.9), ("delta", float("nan")), ("power", 1), ("discordance", 5)],
)
def test_a_plan_out_of_range_is_refused_in_one_line_that_names_the_option(option, value):
    with pytest.raises(InputError, match=rf"^--{option.replace('_', '-')} must be a number .*; got {value}$"):
        Plan(**{option: value})


def test_the_text_answers_the_users_own_numbers_first():
    plan = Plan(labels=3000, discordance=0.05)
    rows = table(plan)
    text = describe(plan, rows)
    own = next(row for row in rows if row.n == 3000)
    printed = float(re.search(r"3,000 certify rows certify a loss of at most ([\d.]+) points", text)[1])
    assert 0 <= printed - 100 * own.certifiable_loss < 0.01  # rounded up, so that it is certified
    assert f"needs {rows_needed(0.01, 0.1, 0.05):,} certify rows" in text
    assert len(rows) == 7
    assert max(map(len, text.splitlines())) <= 120
    for term in ("discordance", "tune_fraction", "labels", "power", "delta", "230"):
        assert term in text


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_suffix_decides_the_format_of_the_figure(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr("offramp.figures.planning.POINTS", 3)
    path = tmp_path / "new" / f"plan{suffix}"
    draw_plan(path, Plan(discordance=0.05, labels=5000))
    assert path.read_bytes()[:5] in (b"\x89PNG\r", b"<?xml", b"%PDF-")
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_figures_that_cannot_be_drawn_are_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"must end in .png, .svg, .pdf; got plan.gif"):
        draw_plan(tmp_path.joinpath("plan.gif").relative_to(tmp_path), Plan())
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match="pip install matplotlib"):
        draw_plan(tmp_path / "plan.png", Plan())


def test_planning_does_not_import_matplotlib():
    code = "import sys, offramp.calibration.planning, offramp.figures.planning; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_planning_is_quick():
    start = time.perf_counter()
    power_at(20_000, 0.01, 0.1, 0.005)
    rows_needed(0.01, 0.1, 0.05)
    assert time.perf_counter() - start < 1  # tenfold what it takes on a laptop
