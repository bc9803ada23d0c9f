"""Sections `model` and `models`: which network, what defines it, and where its weights come from."""

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

from pydantic import Discriminator, Field, Tag, model_validator

from offramp.networks.registry import NAMES, NETWORKS, Network, register
from offramp.project.sections import InputFile, PositiveInt, Section, must_be, registered

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NetworkName = Annotated[str, registered(NAMES)]


class Model(Section):
    """`model`: the network in use."""

    name: str


class Architecture(NamedTuple):
    """What `offramp.networks.build` takes, and what models/network.safetensors remembers."""

    network: str
    arguments: dict[str, Any]


class Normalise(Section):
    """Per channel: what is subtracted from pixels in [0, 1], and what the difference is divided by."""

    mean: Annotated[list[Finite], Field(min_length=1), must_be("a list of numbers, one per channel")]
    std: Annotated[list[Positive], Field(min_length=1), must_be("a list of numbers above 0, one per channel")]


# What torchvision's ImageNet weights were trained with. Inception and GoogLeNet rescale their input from the one to the
# other themselves when they are built with these weights, and only then.
IMAGENET = Normalise(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
SYMMETRIC = Normalise(mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.5])
EXPECT_SYMMETRIC = ("efficientnet_v2_l", "googlenet", "inception_v3")


class Definition(Section):
    """What every network has: the weights of its exits' losses, where its own weights come from, its input."""

    exit_weights: Annotated[
        list[Weight] | None, Field(min_length=1), must_be("a list of numbers, none negative, the final exit's last")
    ] = None
    weights: Annotated[str | None, InputFile()] = None
    initial_weights: Annotated[str | None, InputFile()] = None
    normalise: Normalise | None = None

    @model_validator(mode="after")
    def _one_source_of_weights(self) -> Self:
        if self.weights is not None and self.initial_weights is not None:
            raise ValueError(
                "weights (loaded instead of training) and initial_weights (training starts from them) exclude each "
                f"other; got {self.weights!r} and {self.initial_weights!r}"
            )
        return self

    @property
    def architecture(self) -> Architecture:
        """Return the network's name and its arguments, the input's normalisation among them."""
        network = next(network.name for network in NETWORKS.values() if network.definition is type(self))
        arguments = self._arguments()
        normalise = self.normalise or self._default_normalise()
        if normalise is not None:
            arguments["normalise"] = normalise.model_dump()
        return Architecture(network, arguments)

    def loss_weights(self, n_exits: int) -> list[float]:
        """Return the weight of each exit's loss (exits,). Raises ValueError where they are for other exits."""
        weights = self._default_weights(n_exits) if self.exit_weights is None else self.exit_weights
        if len(weights) != n_exits:
            raise ValueError(f"exit_weights must hold {n_exits} numbers, one per exit; got {len(weights)}")
        return weights

    def _arguments(self) -> dict[str, Any]:
        raise NotImplementedError

    def _default_normalise(self) -> Normalise | None:
        return None

    def _default_weights(self, n_exits: int) -> list[float]:
        return [0.3] * (n_exits - 1) + [1.0]


class BranchyNet(Definition):
    """A 6-exit BranchyNet; see `offramp.networks.branchynet`."""

    network: NetworkName
    channels: Annotated[list[PositiveInt], Field(min_length=3, max_length=3)] = [32, 64, 128]
    exit_weights: Annotated[
        list[Weight],
        Field(min_length=6, max_length=6),
        must_be("a list of 6 numbers, none negative, one per exit, the final one last"),
    ] = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]

    def _arguments(self) -> dict[str, Any]:
        return {"channels": self.channels}


register(Network("branchynet", BranchyNet, "offramp.networks.branchynet:BranchyNet"))


class ResNet18(Definition):
    """A ResNet-18 for small images with exits after its stages; see `offramp.networks.resnet18`."""

    network: NetworkName
    channels: Annotated[list[PositiveInt], Field(min_length=4, max_length=4)] = [64, 128, 256, 512]
    exit_weights: Annotated[
        list[Weight],
        Field(min_length=4, max_length=4),
        must_be("a list of 4 numbers, none negative, one per exit, the final one last"),
    ] = [0.3, 0.3, 0.3, 1.0]

    def _arguments(self) -> dict[str, Any]:
        return {"channels": self.channels}


register(Network("resnet18", ResNet18, "offramp.networks.resnet18:ResNet18"))


class _ExitAtEveryLayer(Definition):
    """The networks of Predictive Exit; their exits' losses weigh 1 each, as the authors add them up."""

    width: Positive = 1.0

    def _default_weights(self, n_exits: int) -> list[float]:
        return [1.0] * n_exits


class VGG19BN(_ExitAtEveryLayer):
    """A VGG-19 with batch norm and 20 side exits; see `offramp.networks.vgg19`."""

    network: NetworkName

    def _arguments(self) -> dict[str, Any]:
        return {"width": self.width}


register(Network("vgg19_bn", VGG19BN, "offramp.networks.vgg19:VGG19BN"))


class ResNet34(_ExitAtEveryLayer):
    """A ResNet-34 for small images with 32 side exits; see `offramp.networks.resnet34`."""

    network: NetworkName
    stem_pool: PositiveInt = 1

    def _arguments(self) -> dict[str, Any]:
        return {"width": self.width, "stem_pool": self.stem_pool}


register(Network("resnet34", ResNet34, "offramp.networks.resnet34:ResNet34"))


class Backbone(Definition):
    """A torchvision classifier with exits after parts of it; see `offramp.networks.torchvision`."""

    backbone: Annotated[str, Field(pattern=r"^[a-z0-9_]+$"), must_be("the name of a torchvision classifier")]
    exits: Annotated[
        list[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]],
        must_be("a list of names of parts of the backbone, first to last, as in layer1 or features.3"),
    ]
    head: Literal["pool_linear"] = "pool_linear"
    pretrained: bool = False

    def _arguments(self) -> dict[str, Any]:
        return {"backbone": self.backbone, "exits": self.exits, "head": self.head}

    def _default_normalise(self) -> Normalise | None:
        """Return what torchvision's published weights expect; without them pixels stay in [0, 1]."""
        if not self.pretrained:
            return None
        return SYMMETRIC if self.backbone in EXPECT_SYMMETRIC else IMAGENET


register(Network("torchvision", Backbone, "offramp.networks.torchvision:Backbone", key="backbone"))


class Factory(Definition):
    """The user's own network: a function that returns (segment, head) pairs; see `offramp.networks.factory`."""

    factory: Annotated[
        str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"), must_be("package.module:function")
    ]
    arguments: dict[str, Any] = {}

    def _arguments(self) -> dict[str, Any]:
        return {"factory": self.factory, "arguments": self.arguments}


register(Network("factory", Factory, "offramp.networks.factory:FromFactory", key="factory"))


def _kind(value: Any) -> str:
    """Return which definition a mapping is meant to be; the first one where it says nothing, so that it is told."""
    if isinstance(value, Definition):
        return _tag(type(value))
    if isinstance(value, dict):
        for network in NETWORKS.values():
            if (network.key in value) if network.key else value.get("network") == network.name:
                return _tag(network.definition)
    return _tag(BranchyNet)


def _tag(definition: type[Definition]) -> str:
    return f"<{definition.__name__}>"


if TYPE_CHECKING:
    AnyModel = Definition
else:
    _KINDS = [Annotated[each.definition, Tag(_tag(each.definition))] for each in NETWORKS.values()]
    AnyModel = Annotated[reduce(or_, _KINDS), Discriminator(_kind)]
Models = Annotated[dict[str, AnyModel], Field(min_length=1)]
