"""The pieces of training by themselves: augmentation, schedules, where images lie, the figure."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from offramp.figures.training import draw_training
from offramp.networks.training import examples as augmentation
from offramp.networks.training.checkpoint import COLUMNS, History
from offramp.networks.training.examples import Examples
from offramp.networks.training.params import Augment, Train
from offramp.networks.training.phases import optimiser_of, schedule_of
from offramp.project.tables import write_table


def literal_augmentation(image, top, left, flip, crop):
    _, height, width = image.shape
    changed = np.zeros_like(image)
    for row in range(height):
        for column in range(width):
            source_row = row + top - crop
            source_column = (width - 1 - column if flip else column) + left - crop
            if 0 <= source_row < height and 0 <= source_column < width:
                changed[:, row, column] = image[:, source_row, source_column]
    return changed


@pytest.mark.parametrize(("crop", "flip"), [(2, True), (3, False), (0, True)])
def test_augmentation_equals_a_loop_over_pixels(rng, crop, flip):
    images = rng.integers(0, 256, (40, 3, 5, 7), dtype=np.uint8)
    drawn = augmentation.draw(Augment(crop=crop, flip=flip), 40, torch.Generator().manual_seed(1))
    changed = augmentation.apply(torch.from_numpy(images), drawn, crop).numpy()
    for image, one, (top, left, mirrored) in zip(images, changed, drawn.tolist(), strict=True):
        assert np.array_equal(one, literal_augmentation(image, top, left, mirrored, crop))
    assert set(drawn[:, 0].tolist()) == set(range(2 * crop + 1))
    assert set(drawn[:, 2].tolist()) == ({0, 1} if flip else {0})


@pytest.mark.parametrize("optimiser", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize(
    ("schedule", "relative"),
    [("one_cycle", [1 / 25, 1.0, 4e-6]), ("cosine", [1.0, 0.7679, 0.0]), ("constant", [1.0, 1.0, 1.0])],
)
def test_schedules_start_rise_and_end_where_they_should(optimiser, schedule, relative):
    """At the first step, at the fourth of ten (the peak of one cycle), and after the last."""
    settings = Train(optimiser=optimiser, schedule=schedule, learning_rate=0.1, momentum=0.7)
    parameter = nn.Parameter(torch.ones(1))
    made = optimiser_of(settings, [parameter])
    course = schedule_of(settings, made, 10)
    rates, momenta = [], set()
    for _ in range(10):
        rates.append(made.param_groups[0]["lr"])
        momenta.add(made.param_groups[0].get("momentum"))
        parameter.grad = torch.ones(1)
        made.step()
        course.step() if len(rates) < 10 else None
    if schedule == "cosine":
        course.step()
    rates.append(made.param_groups[0]["lr"])
    peak = {"one_cycle": 2, "cosine": 3, "constant": 3}[schedule]
    assert [rates[0], rates[peak], rates[-1]] == pytest.approx([0.1 * one for one in relative], rel=0.05, abs=1e-9)
    assert momenta == ({0.7} if optimiser == "sgd" else {None})


def test_images_stay_off_an_accelerator_whose_memory_they_would_fill(monkeypatch):
    sent = []
    images = SimpleNamespace(nbytes=30, to=lambda device: sent.append(device) or "sent")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (5, 100))
    placed = Examples(images, SimpleNamespace(to=sent.append)).place(torch.device("cuda:0"))
    assert placed.images is images
    images.nbytes = 25
    assert Examples(images, SimpleNamespace(to=sent.append)).place(torch.device("cuda:0")).images == "sent"


@pytest.mark.parametrize("phases", [["joint"], ["backbone", "exits"], ["backbone"], ["exits"], ["loaded"]])
def test_every_course_of_training_is_drawn(tmp_path, phases):
    history = History()
    for epoch, phase in enumerate(phases):
        exits = ["exit_2"] if phase == "backbone" else ["exit_1", "exit_2"]
        for split in ("val",) if phase == "loaded" else ("train", "val"):
            history.add(epoch, phase, split, exits, torch.ones(len(exits)), torch.zeros(len(exits)))
    write_table(tmp_path / "training.csv", COLUMNS, history.rows)
    draw_training(tmp_path, tmp_path / "training.csv")
    assert (tmp_path / "training.png").stat().st_size > 5000
