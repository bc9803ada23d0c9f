"""Cutting a network that was not written for it into segments which follow on each other.

The network's graph is traced (torch.fx) and cut after the last node of each named part. A cut is possible where one
tensor and nothing else goes on: then running the segments one after the other runs every node exactly once.

What tracing fixes is the Python around the layers: which branch is taken, how often a loop runs. Layers stay modules,
with their parameters and their training mode; so do the modules of `leaves`, which look at that mode themselves. The
graph is traced in both modes, and a network whose graphs differ is refused.
"""

from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Any

from torch import fx, nn

NAMED = 12  # usable parts that a message lists
NO_WORK = {"placeholder", "output"}


class Trace:
    """A network's graph, cut by the names of its parts. Raises ValueError where it cannot be traced."""

    def __init__(self, network: nn.Module, leaves: Collection[type[nn.Module]] = ()) -> None:
        self._network = network
        graphs = []
        for training in (True, False):
            network.train(training)
            graphs.append(_Tracer(leaves).trace(network))
        if _description(graphs[0]) != _description(graphs[1]):
            raise ValueError("the network does something else in training than in evaluation; it cannot be cut")
        self._nodes = [node for node in graphs[1].nodes if node.op not in NO_WORK]
        self._place = {node: place for place, node in enumerate(self._nodes)}
        self._input = next(node for node in graphs[1].nodes if node.op == "placeholder")
        output = next(node for node in graphs[1].nodes if node.op == "output")
        self._answer: fx.Node = output.args[0]

    def segments(self, parts: Sequence[str], last_head: str) -> list[fx.GraphModule]:
        """Return what runs up to the end of each part, after that up to `last_head`, and from there to the answer.

        They share their layers with the network. Raises ValueError for a part that the network does not have, for
        parts in another order than they run in, and where more than one tensor goes on after a part.
        """
        head = next(place for place, node in enumerate(self._nodes) if _is_in(node, last_head))
        cuts = [0]
        for part in parts:
            cut = self._end(part)
            if not cuts[-1] < cut < head:
                raise ValueError(
                    f"exits must be parts that run one after the other before {last_head}, with something between "
                    f"them; got {', '.join(parts)}, where {part} is not"
                )
            self._require_one_tensor(part, cut, head)
            cuts.append(cut)
        if not self._one_goes_on(head):
            raise ValueError(f"what comes before {last_head} gives more than one tensor; it cannot be cut there")
        return [self._segment(start, end) for start, end in pairwise([*cuts, head, len(self._nodes)])]

    def usable(self, head: int) -> list[str]:
        """Return the names of the parts after which the network can be cut, in the order in which they end."""
        ends = {part: place + 1 for place, node in enumerate(self._nodes[:head]) for part in _parts(node)}
        names: dict[int, str] = {}  # of several parts that end together the outermost
        for part, end in sorted(ends.items(), key=lambda found: found[0].count(".")):
            if end < head and self._one_goes_on(end):
                names.setdefault(end, part)
        return [names[end] for end in sorted(names)]

    def _end(self, part: str) -> int:
        places = [place for place, node in enumerate(self._nodes) if _is_in(node, part)]
        if not places:
            top = [name for name, _ in self._network.named_children()]
            raise ValueError(f"the backbone has no part {part!r} that runs; its first level: {', '.join(top)}")
        return places[-1] + 1

    def _require_one_tensor(self, part: str, cut: int, head: int) -> None:
        if self._one_goes_on(cut):
            return
        going_on = ", ".join(str(node) for node in self._going_on(cut))
        usable = sorted(self.usable(head), key=lambda name: name.count("."))  # the outermost first
        shown = ", ".join(usable[:NAMED]) + (f" and {len(usable) - NAMED} more" if len(usable) > NAMED else "")
        raise ValueError(
            f"there is no exit after {part!r}: one tensor must go on from there, and these do: {going_on}. "
            f"Parts with an exit after them: {shown}"
        )

    def _one_goes_on(self, cut: int) -> bool:
        return len(self._going_on(cut)) == 1

    def _going_on(self, cut: int) -> list[fx.Node]:
        """Return what is made before a cut and read behind it. Parameters are made nowhere: they are at hand."""
        read = {value for node in self._nodes[cut:] for value in node.all_input_nodes}
        if self._answer in self._nodes[:cut]:
            read.add(self._answer)
        made = [node for node in self._nodes[:cut] if node in read and node.op != "get_attr"]
        return [self._input, *made] if self._input in read else made

    def _segment(self, start: int, end: int) -> fx.GraphModule:
        graph = fx.Graph()
        given = self._going_on(start)[0]
        copies = {given: graph.placeholder("features")}

        def copied(node: fx.Node) -> fx.Node:
            if node not in copies:
                assert node.op == "get_attr", "one tensor goes on, and parameters are at hand"
                copies[node] = graph.node_copy(node)
            return copies[node]

        for node in self._nodes[start:end]:
            if node.op != "get_attr" or any(self._place.get(user, end) < end for user in node.users):
                copies[node] = graph.node_copy(node, copied)
        after = self._answer if end == len(self._nodes) else self._going_on(end)[0]
        graph.output(copies[after])
        return _without_in_place(fx.GraphModule(self._network, graph))


class _Tracer(fx.Tracer):
    """Traces down to the layers of torch and to `leaves`."""

    def __init__(self, leaves: Collection[type[nn.Module]]) -> None:
        super().__init__()
        self._leaves = tuple(leaves)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, self._leaves) or super().is_leaf_module(m, module_qualified_name)


def share_attributes(segment: fx.GraphModule, network: nn.Module) -> None:
    """Let a segment read the network's parameters and buffers that belong to no layer.

    It holds them beside its layers: after a move to another device they may be others than the network's.
    """
    for node in segment.graph.nodes:
        if node.op == "get_attr":
            owner, _, name = str(node.target).rpartition(".")
            source, copy = network.get_submodule(owner), segment.get_submodule(owner)
            for kind in ("_parameters", "_buffers"):
                if name in getattr(source, kind):
                    getattr(copy, kind)[name] = getattr(source, kind)[name]


def _without_in_place(segment: fx.GraphModule) -> fx.GraphModule:
    """Let nothing overwrite its input: a head reads the features that the next segment starts from."""
    for module in segment.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]
    for node in segment.graph.nodes:
        if node.kwargs.get("inplace"):
            node.kwargs = node.kwargs | {"inplace": False}
    segment.recompile()
    return segment


def _parts(node: fx.Node) -> list[str]:
    """Return the names of the modules that a node runs in, outermost first."""
    stack = node.meta.get("nn_module_stack", {})
    names = [path for path, _ in stack.values() if path]
    return names if node.op != "call_module" or str(node.target) in names else [*names, str(node.target)]


def _is_in(node: fx.Node, part: str) -> bool:
    return part in _parts(node)


def _description(graph: fx.Graph) -> list[Any]:
    return [(node.op, str(node.target), str(node.args), str(node.kwargs)) for node in graph.nodes]
