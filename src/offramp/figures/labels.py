"""Small texts beside points, each where it covers no other text and no point."""

import math
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

RADII = (8, 12, 17, 23, 30, 38)  # between a point and its text, in points
ANGLES = [math.radians(45 + step * 22.5) for step in (6, 2, 7, 1, 5, 3, 4, 0, 8, 14, 9, 13, 10, 12, 11, 15)]
POINT = 4.0  # half the width of a marker, in points
Box = tuple[float, float, float, float]  # left, bottom, right, top


@dataclass(frozen=True)
class Label:
    """A text for a point in data coordinates."""

    x: float
    y: float
    text: str
    colour: str


def place_labels(drawn: Figure, axes: Axes, labels: list[Label], size: float = 7) -> None:
    """Write labels greedily, from the right: the first free place around its point, nearest first.

    A text that ends up far off gets a thin line to its point. Draws the figure once to learn where points are.
    """
    drawn.draw_without_rendering()
    scale = 72 / drawn.dpi
    inside = [edge * scale for edge in axes.get_window_extent().extents]
    places = [[float(c) * scale for c in axes.transData.transform((label.x, label.y))] for label in labels]
    taken: list[Box] = [(x - POINT, y - POINT, x + POINT, y + POINT) for x, y in places]
    for number in sorted(range(len(labels)), key=lambda i: -places[i][0]):
        label, (x, y) = labels[number], places[number]
        width, height = 0.62 * size * len(label.text), 1.05 * size
        options = [(_box(x, y, radius, angle, width, height), radius) for radius in RADII for angle in ANGLES]
        box, radius = min(options, key=lambda option: _overlap(option[0], taken) + _outside(option[0], inside))
        taken.append(box)
        offset = ((box[0] + box[2]) / 2 - x, (box[1] + box[3]) / 2 - y)
        far = radius > RADII[1]
        line = {"arrowstyle": "-", "linewidth": 0.5, "color": label.colour, "shrinkA": 0, "shrinkB": 3} if far else None
        where: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "center", "in_layout": False}
        axes.annotate(
            label.text, (label.x, label.y), offset, color=label.colour, fontsize=size, arrowprops=line, **where
        )


def _box(x: float, y: float, radius: float, angle: float, width: float, height: float) -> Box:
    middle_x = x + math.cos(angle) * (radius + width / 2)
    middle_y = y + math.sin(angle) * (radius + height / 2)
    return middle_x - width / 2, middle_y - height / 2, middle_x + width / 2, middle_y + height / 2


def _overlap(box: Box, taken: list[Box]) -> float:
    area = 0.0
    for left, bottom, right, top in taken:
        area += max(0.0, min(box[2], right) - max(box[0], left)) * max(0.0, min(box[3], top) - max(box[1], bottom))
    return area


def _outside(box: Box, inside: list[float]) -> float:
    over = max(0.0, inside[0] - box[0]) + max(0.0, inside[1] - box[1])
    return 1e3 * (over + max(0.0, box[2] - inside[2]) + max(0.0, box[3] - inside[3]))
