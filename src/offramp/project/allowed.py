"""One line about what pydantic refused: the key, what is allowed there, and the value given.

What is allowed is put into words from the schema's types, bounds and choices, so that no field repeats them as text.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

Node = Mapping[str, Any]  # of a JSON schema
NOUNS = {"integer": "whole number", "number": "number", "string": "string", "array": "list", "object": "section"}


def describe(error: ValidationError, schema: type[BaseModel]) -> str:
    """Return the first problem of a validation by `schema` in one line, whatever keys and texts the file has."""
    return " ".join(_sentence(error.errors(include_url=False)[0], schema).split())


def _sentence(problem: Any, schema: type[BaseModel]) -> str:
    key = ".".join(str(part) for part in problem["loc"] if not str(part).startswith("<"))
    try:
        given = repr(problem["input"])
    except RecursionError:
        given = "something nested too deeply"
    given = given if len(given) <= 80 else given[:77] + "..."
    if problem["loc"][-1:] == ("[key]",):
        return f"{key.removesuffix('.[key]')} is not a key that is known here (a typing error?)"
    match problem["type"]:
        case "missing":
            return f"{key} is missing"
        case "extra_forbidden":
            return f"{key} is not a parameter (a typing error?); got {given}"
        case "value_error":  # our own validators write the whole sentence
            return str(problem["ctx"]["error"])
        case "must_be":
            message = problem["msg"]
        case kind:
            key, allowed = _Schema(schema).allowed(problem["loc"])
            if kind == "finite_number":
                allowed = allowed.replace("a number", "a finite number", 1)
            message = f"must be {allowed}" if allowed else problem["msg"][0].lower() + problem["msg"][1:]
    hint = f" (write [{given}])" if "list" in message and isinstance(problem["input"], int | float) else ""
    return f"{key} {message}; got {given}{hint}"


class _Schema:
    """A schema as JSON: its parts are looked up and put into words."""

    def __init__(self, schema: type[BaseModel]) -> None:
        self.root: Node = schema.model_json_schema()
        self.parts: Mapping[str, Node] = self.root.get("$defs", {})

    def allowed(self, place: tuple[str | int, ...]) -> tuple[str, str]:
        """Return the key and what is allowed at a place, which may end in the choices of a union."""
        key, node = [], self.root
        for part in place:
            if str(part).startswith("<"):  # one kind of section; see `sections.kind`
                node = self.parts[str(part)[1:-1]]
                continue
            inner = self._inner(node, part)
            if inner is None:
                break
            key.append(str(part))
            node = inner
        return ".".join(key), self._words(node)

    def _options(self, node: Node) -> Iterator[Node]:
        if "$ref" in node:
            yield from self._options(self.parts[node["$ref"].rpartition("/")[2]])
        elif "anyOf" in node or "oneOf" in node:
            for option in node.get("anyOf") or node["oneOf"]:
                yield from self._options(option)
        else:
            yield node

    def _inner(self, node: Node, part: str | int) -> Node | None:
        for option in self._options(node):
            inner = option.get("items") if isinstance(part, int) else option.get("additionalProperties")
            inner = option.get("properties", {}).get(part, inner)
            if isinstance(inner, dict):
                return inner
        return None

    def _words(self, node: Node) -> str:
        words = dict.fromkeys(self._one(option) for option in self._options(node))  # each once
        return " or ".join(words) if all(words) else ""

    def _one(self, node: Node) -> str:
        """Return `a number in (0, 1]` and the like; nothing where the schema does not say what is allowed."""
        if "enum" in node or "const" in node:
            values = sorted(map(str, node.get("enum", [node.get("const")])))
            return f"one of: {', '.join(values)}" if len(values) > 1 else values[0]
        match node.get("type"):
            case "boolean":
                return "true or false"
            case "null":
                return "null"
            case "array":
                most = f", at most {node['maxItems']}" if node.get("maxItems", 0) > 1 and "minItems" in node else ""
                exact = node.get("minItems") == node.get("maxItems")
                return f"a {_size(node, 'Items')}list{self._items(node)}{'' if exact else most}"
            case "object":
                return f"a {_size(node, 'Properties')}section"
            case "string":
                shape = f" that matches {node['pattern']}" if "pattern" in node else ""
                return f"a {_size(node, 'Length')}string{shape}"
            case "integer" | "number" as kind:
                return f"a {NOUNS[kind]}{_range(node)}"
        return ""

    def _items(self, node: Node) -> str:
        item = node.get("items", {})
        noun = NOUNS.get(item.get("type", ""))
        least, most = node.get("minItems"), node.get("maxItems")
        count = f"{least} " if least is not None and least == most else ""
        if "enum" in item:
            return f" of: {', '.join(sorted(map(str, item['enum'])))}"
        return f" of {count}{noun}s{_range(item)}" if noun else f" of {count}values"


def _size(node: Node, what: str) -> str:
    return "non-empty " if node.get(f"min{what}") == 1 else ""


def _range(node: Node) -> str:
    """Return the bounds of a number, a leading space or comma included."""
    low, above = node.get("minimum"), node.get("exclusiveMinimum")
    high, below = node.get("maximum"), node.get("exclusiveMaximum")
    if node.get("type") == "integer" and below is not None:
        high, below = below - 1, None
    lower, upper = (low if above is None else above), (high if below is None else below)
    if lower is not None and upper is not None:
        if node["type"] == "integer":
            return f" from {lower} to {upper}"
        return f" in {'[' if above is None else '('}{lower:g}, {upper:g}{']' if below is None else ')'}"
    if lower is not None:
        return f", at least {lower:g}" if above is None else f" above {lower:g}"
    if upper is not None:
        return f", at most {upper:g}" if below is None else f" below {upper:g}"
    return ""
