"""Folding batch norm into the convolution before it, where the two follow each other directly."""

from collections import Counter
from collections.abc import Iterator
from copy import deepcopy

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Pair = tuple[str, str]  # names of a convolution and of the batch norm behind it


def fold_batch_norm(module: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode in which every convolution followed by batch norm is one.

    A Sequential and a traced graph lose the batch norm; in any other module, as in a residual block, it is replaced by
    an identity and the module's own code stays as it is. Where something stands between the two, as ReLU does in
    BranchyNet, nothing is folded; nor is batch norm folded into a convolution after it, which would be wrong at a
    zero-padded border. A layer that is used twice, or whose surroundings cannot be traced, stays as it is.
    """
    copied = deepcopy(module).eval()
    uses = Counter(id(child) for _, child in copied.named_modules(remove_duplicate=False))
    return _folded(copied, uses)


def _folded(module: nn.Module, uses: Counter[int]) -> nn.Module:
    for name, child in module.named_children():
        if uses[id(child)] == 1:
            setattr(module, name, _folded(child, uses))
    gone = set()
    for conv, norm in list(_pairs(module)):
        layer, after = module.get_submodule(conv), module.get_submodule(norm)
        if _can_fold(layer, after) and uses[id(layer)] == uses[id(after)] == 1:
            assert isinstance(layer, nn.Conv2d) and isinstance(after, nn.BatchNorm2d)
            module.set_submodule(conv, fuse_conv_bn_eval(layer, after))
            module.set_submodule(norm, nn.Identity())
            gone.add(norm)
    if isinstance(module, fx.GraphModule):
        return _without(module, gone)
    if gone and type(module).forward is nn.Sequential.forward:
        return nn.Sequential(*(layer for name, layer in module.named_children() if name not in gone))
    return module


def _pairs(module: nn.Module) -> Iterator[Pair]:
    """Yield each convolution and batch norm that nothing but the other reads or feeds, and that run once."""
    graph = _graph(module)
    if graph is None:
        return
    runs = Counter(node.target for node in graph.nodes if node.op == "call_module")
    for node in graph.nodes:
        before = node.args[0] if node.op == "call_module" and len(node.args) == 1 else None
        if isinstance(before, fx.Node) and before.op == "call_module" and len(before.users) == 1:
            conv, norm = str(before.target), str(node.target)
            if runs[conv] == runs[norm] == 1:
                yield conv, norm


def _graph(module: nn.Module) -> fx.Graph | None:
    """Return what a module does with its children; None where it has none to fold or cannot be traced."""
    if isinstance(module, fx.GraphModule):
        return module.graph
    if not any(isinstance(child, nn.BatchNorm2d) for child in module.children()):
        return None
    try:
        return _ChildrenTracer().trace(module)
    except Exception:  # whatever code of somebody else's makes of symbols: then it stays as it is
        return None


class _ChildrenTracer(fx.Tracer):
    """Traces a module's own code and none of its children's."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:  # noqa: ARG002 (the base's signature)
        return True


def _can_fold(layer: nn.Module, after: nn.Module) -> bool:
    return type(layer) is nn.Conv2d and type(after) is nn.BatchNorm2d and after.running_mean is not None


def _without(module: fx.GraphModule, gone: set[str]) -> fx.GraphModule:
    for node in [node for node in module.graph.nodes if node.op == "call_module" and node.target in gone]:
        node.replace_all_uses_with(node.args[0])
        module.graph.erase_node(node)
    module.delete_all_unused_submodules()
    module.recompile()
    return module
