"""The methods of calibration by name: what others need to know of one, registered once.

How a method chooses is registered with these facts, in `offramp.calibration.methods`; parameters, commands,
evaluation and figures read the record.
"""

from dataclasses import dataclass

from offramp.policies.costs import MACS, RATIOS
from offramp.policies.routes.rule import ROUTES

ACCURACY, EXIT_ACCURACY, LOSS = "accuracy", "exit_accuracy", "loss"
COST = RATIOS[MACS]
MEASURES = (ACCURACY, EXIT_ACCURACY, LOSS, COST)
TARGET_LABELS = {"targets": "target accuracy", "max_loss": "largest loss", "budgets": "budget"}  # list of calibrate


@dataclass(frozen=True)
class Method:
    """What a method of calibration promises, on which rows it chooses, and how it is shown.

    `targets` is the list of `calibrate` that has its targets. `measure` is what a target is compared with: the
    `accuracy` of all samples, `exit_accuracy` (the lowest at a side exit), `loss` against the full network or
    `mac_ratio`. It chooses on all of validation, or `on_certify`: on the rows outside the tune fold. `route` names the
    route that it chooses, if any; routes skip heads.
    """

    name: str
    targets: str
    measure: str
    label: str  # in a few words, for a reader
    on_certify: bool = False
    certifies: bool = False
    needs_every_label: bool = True
    route: str | None = None
    colour: str = "#888888"
    marker: str = "o"
    dashed: bool = False

    def __post_init__(self) -> None:
        if self.targets not in TARGET_LABELS or self.measure not in MEASURES:
            raise ValueError(
                f"method {self.name!r} needs targets of {', '.join(TARGET_LABELS)} and a measure of "
                f"{', '.join(MEASURES)}; got {self.targets!r} and {self.measure!r}"
            )

    @property
    def at_most(self) -> bool:
        """Return whether the measure is to be at most the target; else at least."""
        return self.measure in (LOSS, COST)

    @property
    def target_label(self) -> str:
        """Return what a target is, for an axis."""
        return TARGET_LABELS[self.targets]

    @property
    def smooths(self) -> bool:
        """Return whether its route forecasts activations: then the score has to be `activation`."""
        return self.route is not None and "growth" in ROUTES[self.route].route.shows

    @property
    def forecasts(self) -> bool:
        """Return whether its route computes a forecast, which takes time."""
        return self.route is not None and bool(ROUTES[self.route].route.shows)


METHODS: dict[str, Method] = {}


def register(method: Method) -> Method:
    """Add the facts of a method. Raises ValueError for a name that is taken."""
    if method.name in METHODS:
        raise ValueError(f"there is a method {method.name!r} already")
    METHODS[method.name] = method
    return method


# Colours are Okabe & Ito's; a certified method has a darker shade of its plug-in twin.
PER_EXIT = register(
    Method("per_exit", "targets", EXIT_ACCURACY, "accuracy at each side exit", colour="#0072B2", marker="o")
)
SHARED = register(Method("shared", "targets", ACCURACY, "one cutoff, accuracy overall", colour="#D55E00", marker="s"))
OVERALL = register(Method("overall", "targets", ACCURACY, "accuracy overall", colour="#009E73", marker="v"))
BATCH = register(Method("batch", "targets", ACCURACY, "whole batches, accuracy overall", colour="#882255", marker="<"))
BUDGET = register(Method("budget", "budgets", COST, "mean cost", colour="#E69F00", marker="h"))
CERTIFIED = register(
    Method(
        "certified",
        "max_loss",
        LOSS,
        "largest loss, proved",
        on_certify=True,
        certifies=True,
        needs_every_label=False,
        colour="#CC79A7",
        marker="D",
    )
)
CERTIFIED_OVERALL = register(
    Method(
        "certified_overall",
        "targets",
        ACCURACY,
        "accuracy, proved",
        on_certify=True,
        certifies=True,
        colour="#00543D",
        marker="^",
        dashed=True,
    )
)
CERTIFIED_PER_EXIT = register(
    Method(
        "certified_per_exit",
        "targets",
        EXIT_ACCURACY,
        "at each exit, proved",
        on_certify=True,
        certifies=True,
        colour="#003A5C",
        marker="p",
        dashed=True,
    )
)
CONFORMAL = register(
    Method(
        "conformal",
        "max_loss",
        LOSS,
        "largest loss on average",
        on_certify=True,
        colour="#56B4E9",
        marker="X",
        dashed=True,
    )
)
ROUTE_METHODS = [
    register(Method(name, "targets", ACCURACY, "a route, accuracy overall", on_certify=True, route=name))
    for name in ROUTES
]
CERTIFIED_ROUTES = [
    register(
        Method(
            f"certified_{name}",
            "max_loss",
            LOSS,
            "a route, largest loss, proved",
            on_certify=True,
            certifies=True,
            route=name,
        )
    )
    for name, kind in ROUTES.items()
    if not kind.route.blind  # jumps that look at nothing are controls
]
