"""The one meaning of every pure function: arithmetic, comparison, lists, texts and filters.

Constant folding, the reference evaluation and the executor all call `apply`, so they cannot
disagree. Arguments and results are JSON data (`ir/types.py`); tuples are records with the fields
"0", "1", …. A function either gives a value or raises `ScalarError` with a message for people;
results are bounded in size, so a mistaken `range(10**12)` is an error and not the end of the
machine. A bool is never a number here, and no result is NaN or infinite.

    apply("add", ["ab", "c"], {}, {}) == "abc"
    apply("index", [[1, 2], 5], {}, {})       raises  index 5 is outside a list of 2
"""

from collections.abc import Callable, Mapping, Sequence

from parrotc.ir import scalar_data as data
from parrotc.ir import scalar_text as text
from parrotc.ir.scalar_checks import ScalarError
from parrotc.ir.scalar_text import Encoder, Spoken
from parrotc.ir.types import Json

__all__ = ["OF_A_MODEL", "SCALARS", "Encoder", "ScalarError", "ScalarFn", "Spoken", "apply"]

ScalarFn = Callable[..., Json]


def apply(
    function: str,
    args: Sequence[Json],
    attrs: Mapping[str, Json],
    tokenizers: Mapping[str, Encoder],
) -> Json:
    """The value of `function`, or `ScalarError`.

    `attrs` are keyword arguments of the functions; `tokenizers` are those of the program's
    models, by name, for `truncate` and `ids`. Raises `KeyError` for a function that does not exist.
    """
    scalar = SCALARS[function]
    try:
        if function in OF_A_MODEL:
            return scalar(*args, encoder=tokenizers.get(attrs["model"]))
        return scalar(*args, **attrs)
    except RecursionError:
        raise ScalarError(f"`{function}` got a value that is nested too deeply") from None


SCALARS: dict[str, ScalarFn] = {
    "add": data.add, "sub": data.sub, "mul": data.mul, "div": data.div, "mod": data.mod,
    "neg": data.neg, "eq": data.eq, "ne": data.ne, "lt": data.lt, "le": data.le, "gt": data.gt,
    "ge": data.ge, "in": data.in_, "not_in": data.not_in, "not": data.not_, "len": data.len_,
    "range": data.range_, "zip": data.zip_, "enumerate": data.enumerate_, "list": data.list_,
    "record": data.record, "get": data.get, "index": data.index, "slice": data.slice_,
    "as": data.as_, "present": data.present,
    "flatten": data.flatten, "repeat": data.repeat, "min": data.min_, "max": data.max_,
    "sum": data.sum_, "any": data.any_, "all": data.all_, "sorted": data.sorted_,
    "str": text.show, "int": text.int_, "float": text.float_, "round": text.round_,
    "show": text.show, "format": text.format_, "doc": text.doc, "json": text.json,
    "upper": text.upper, "lower": text.lower, "trim": text.strip, "strip": text.strip,
    "lstrip": text.lstrip, "rstrip": text.rstrip, "split": text.split,
    "splitlines": text.splitlines, "startswith": text.startswith, "endswith": text.endswith,
    "replace": text.replace, "join": text.join, "bullets": text.bullets,
    "numbered": text.numbered, "indent": text.indent, "truncate": text.truncate,
    "ids": text.ids,
}  # fmt: skip
OF_A_MODEL = ("truncate", "ids")  # functions that need the tokenizer of `attrs["model"]`
