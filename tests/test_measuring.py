"""The clockwork of the benchmark: who runs when, and that no nanosecond is lost or counted twice."""

import gc
import math

import numpy as np
import pytest

from offramp.policies.policy import Policy
from offramp.runtime.benchmark.measuring import TURN, WARM_UP, Measured, time_policies
from offramp.runtime.benchmark.results import break_even_share
from offramp.runtime.engines.pieces import Output
from offramp.runtime.live import Answers, Runtime, StepTime
from offramp.scores.scoring import Scoring

N_EXITS = 3
SCORING = Scoring.plain("margin", ["exit_1", "exit_2", "exit_3"])


class ThreeExits:
    """An engine of three exits: a pixel p is answered p mod 2, and sure from exit p // 50 on. Writes down its steps."""

    name = "three_exits"

    def __init__(self):
        self.ran = []

    def step(self, piece, scoring):
        assert (scoring is SCORING) == piece.features, "who decides needs the score, and nobody else"
        return PixelStep(piece.end, self.ran)

    def exit_logits(self, images):
        return np.concatenate([PixelStep(k, [])(images).logits for k in range(N_EXITS)], axis=1)


class PixelStep:
    def __init__(self, end, ran):
        self.end, self.ran = end, ran

    def __call__(self, pixels):
        self.ran.append((self.end, pixels.reshape(-1).tolist()))
        values = pixels.reshape(-1).astype(int)
        sure = np.where(values // 50 <= self.end, 4.0, 1.0)
        signed = np.where(values % 2 == 1, sure, -sure)
        logits = np.stack([-signed, signed], axis=1)[:, None].astype(np.float32)
        return Output(pixels, logits[:, -1].argmax(axis=1), logits=logits)

    def take(self, features, rows):
        return features[rows]


def pixels(*values):
    return np.array(values, np.uint8).reshape(-1, 1, 1, 1)


def policy(engine, thresholds=(-6.0, -6.0, math.inf)):
    return Runtime(engine, Policy(thresholds, scoring=SCORING))


def test_contestants_take_turns_and_nobody_always_follows_the_same_one():
    images = np.arange(2 * TURN + 10).astype(np.uint8).reshape(-1, 1, 1, 1)
    order = []

    def contestant(name):
        runtime = policy(ThreeExits())

        def run(batch):
            order.append((name, int(batch[0, 0, 0, 0]), len(batch)))
            return runtime(batch)

        return run

    time_policies({name: contestant(name) for name in "abc"}, images, TURN // 2, 4, N_EXITS)
    turns = [[(0, 32), (32, 32)], [(64, 32), (96, 32)], [(128, 10)]]
    warm_up = [(name, *batch) for turn in turns[:WARM_UP] for name in "abc" for batch in turn]
    assert order[: len(warm_up)] == warm_up
    rest, orders = order[len(warm_up) :], set()
    for turn in turns * 4:
        mine, rest = rest[: 3 * len(turn)], rest[3 * len(turn) :]
        names = [name for name, *_ in mine[:: len(turn)]]
        assert mine == [(name, *batch) for name in names for batch in turn]
        assert sorted(names) == ["a", "b", "c"]
        orders.add("".join(names))
    assert not rest
    assert len(orders) > 3


def test_a_batch_larger_than_a_turn_is_a_turn():
    engine = ThreeExits()
    found = time_policies({"one": policy(engine)}, np.zeros((3 * TURN, 1, 1, 1), np.uint8), 2 * TURN, 1, N_EXITS)
    assert [len(values) for _, values in engine.ran] == 2 * [2 * TURN, TURN]  # a warm-up and a repeat
    assert found["one"].call_seconds.shape == (1, 2)


def test_steps_and_exits_add_up_to_the_seconds_of_all_calls():
    images = pixels(*range(0, 250, 3))
    for batch_size in (1, 7, 100):
        run = time_policies({"policy": policy(ThreeExits())}, images, batch_size, 3, N_EXITS)["policy"]
        assert run.seconds.tolist() == run.call_seconds.sum(axis=1).tolist()
        assert run.step_seconds.sum(axis=1) == pytest.approx(run.seconds, rel=1e-9)
        assert run.exit_seconds.sum(axis=1) == pytest.approx(run.seconds, rel=1e-9)
        assert (run.seconds > 0).all()
        for taken, label in zip(run.exit, run.label, strict=True):
            assert taken.tolist() == np.minimum(images.reshape(-1) // 50, 2).tolist()
            assert label.tolist() == (images.reshape(-1) % 2).tolist()


def test_a_step_is_shared_equally_and_what_is_outside_steps_by_all():
    """Four samples: 400 ns for all, then 300 ns for two; the rest of the call, by the clock, is everybody's."""

    def run(batch):
        label = np.zeros(len(batch), np.int64)
        steps = [StepTime(0, 4, 400), StepTime(2, 2, 300)]
        return Answers(label, np.array([0, 2, 2, 0]), np.zeros(4), steps)

    found = time_policies({"fixed": run}, pixels(1, 2, 3, 4), 4, 1, N_EXITS)["fixed"]
    first = found.seconds[0] - 300e-9  # the first step, with what is outside
    assert found.step_seconds[0] == pytest.approx([first, 0, 300e-9])
    assert found.exit_seconds[0] == pytest.approx([first / 2, 0, first / 2 + 300e-9])


def test_the_garbage_collector_waits_and_is_as_before_afterwards():
    seen = []

    def run(batch):
        seen.append(gc.isenabled())
        return policy(ThreeExits())(batch)

    assert gc.isenabled()
    time_policies({"watching": run}, pixels(1), 1, 2, N_EXITS)
    assert seen == [True, False, False]  # the warm-up, two repeats
    assert gc.isenabled()

    def fail(batch):
        raise RuntimeError(f"{len(batch)} image fails")

    with pytest.raises(RuntimeError, match="1 image fails"):
        time_policies({"failing": fail}, pixels(1), 1, 1, N_EXITS)
    assert gc.isenabled()


def measured(seconds_at_exits, samples_at_exits, repeats=1):
    """A contestant with these seconds and samples at its exits, the same in every repeat."""
    taken = np.repeat(np.arange(len(samples_at_exits)), samples_at_exits)
    at_exits = np.tile(np.array(seconds_at_exits, float), (repeats, 1))
    calls = at_exits.sum(axis=1, keepdims=True)
    return Measured(1, np.zeros((repeats, len(taken)), int), np.tile(taken, (repeats, 1)), calls, at_exits, at_exits)


def test_the_median_repeat_is_the_faster_one_of_two():
    run = measured([0, 0, 1], [0, 0, 1])
    for seconds, median in (([3, 1, 2], 2), ([4, 1, 3, 2], 3), ([5], 0)):
        calls = np.array(seconds, float)[:, None]
        assert Measured(1, run.label, run.exit, calls, run.step_seconds, run.exit_seconds).median == median


def test_break_even_is_where_the_mix_of_early_and_late_takes_what_the_full_network_takes():
    full = measured([0, 0, 20.0], [0, 0, 10])  # 2 s each
    # early: 4 samples in 2 s, 0.5 s each; last: 6 in 18 s, 3 s each; s·0.5 + (1 − s)·3 = 2 at s = 0.4
    assert break_even_share(measured([0.5, 1.5, 18], [1, 3, 6]), full) == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("seconds", "samples", "share"),
    [
        ([1, 1, 11], [2, 2, 6], 0.0),  # who stays takes no longer than the full network: it pays from the first one
        ([9, 0, 18], [4, 0, 6], None),  # who leaves takes longer than the full network: it never pays
        ([0, 0, 30], [0, 0, 10], None),  # nobody leaves
        ([5, 5, 0], [5, 5, 0], None),  # nobody stays
    ],
)
def test_break_even_is_left_out_where_it_means_nothing(seconds, samples, share):
    assert break_even_share(measured(seconds, samples), measured([0, 0, 20.0], [0, 0, 10])) == share
