"""What is allowed, put into words from a schema."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from offramp.project.allowed import describe


class Inner(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5


class Outer(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    count: Annotated[int, Field(le=9)] = 1
    below: Annotated[float, Field(lt=2.5)] = 1.0
    words: Annotated[list[Literal["b", "a"]], Field(min_length=1)] = ["a"]
    digest: Annotated[str, Field(pattern="^[0-9a-f]+$")] = "0"
    thresholds: dict[str, Annotated[float, Field(allow_inf_nan=False)] | Literal["inf"] | None] = {}
    inner: Inner | None = None
    named: dict[str, Inner] = {}
    anything: Any = None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"count": 10}, "count must be a whole number, at most 9; got 10"),
        ({"below": 2.5}, "below must be a number below 2.5; got 2.5"),
        ({"words": "a"}, "words must be a non-empty list of: a, b; got 'a'"),
        ({"words": 1}, "words must be a non-empty list of: a, b; got 1 (write [1])"),
        ({"words": ["a", "c"]}, "words.1 must be one of: a, b; got 'c'"),
        ({"digest": "x"}, "digest must be a string that matches ^[0-9a-f]+$; got 'x'"),
        ({"thresholds": {"exit_1": "no"}}, "thresholds.exit_1 must be a number or inf or null; got 'no'"),
        ({"inner": {"share": 1}}, "inner.share must be a number in (0, 1); got 1"),
        ({"inner": 3}, "inner must be a section or null; got 3"),
        ({"named": {"one": {"share": "x" * 100}}}, f"named.one.share must be a number in (0, 1); got '{'x' * 76}..."),
        ({"other": 1}, "other is not a parameter (a typing error?); got 1"),
    ],
)
def test_the_key_what_is_allowed_and_the_value_stand_in_one_line(given, message):
    with pytest.raises(ValidationError) as raised:
        Outer.model_validate(given)
    assert describe(raised.value, Outer) == message
