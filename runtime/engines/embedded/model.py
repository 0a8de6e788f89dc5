"""The forward pass over one step of work, in plain torch: one pass for every family.

A step is a flat list of tokens, whoever they belong to; what each may look at is known to the
step's `attend` alone. So prompts and generations of any number go through the same matrices at
once, and nothing here knows of contexts or pages.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from parrotc.kernels.dense import Dense
from parrotc.runtime.engines.embedded.fused import fused
from parrotc.runtime.engines.embedded.layers import Attend, Layer, Norm, RmsNorm
from parrotc.runtime.engines.embedded.linear import Linear, float_linear
from parrotc.runtime.engines.embedded.quantised import Int8Linear
from parrotc.runtime.engines.embedded.rotary import Rotary
from parrotc.runtime.engines.embedded.shape import Shape
from parrotc.runtime.models import ModelError

PRECISIONS = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int8": torch.float32,  # of everything but the weights
}
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"silu": F.silu, "relu": F.relu}


@dataclass(frozen=True, slots=True)
class Step:
    """One forward pass over the tokens `ids` at `positions`, both `[tokens]` int64.

    `attend(layer, queries, keys, values)` keeps keys and values `[tokens, kv_heads, dim]` as those
    of the tokens, and gives what the queries `[tokens, heads, dim]` find, in their shape.
    """

    ids: Tensor
    positions: Tensor
    attend: Attend


class Model:
    """Weights in one precision on one device. Not changed by running."""

    def __init__(
        self,
        shape: Shape,
        weights: Mapping[str, Tensor],
        precision: str,
        device: torch.device | str = "cpu",
        dense: Dense | None = None,
    ) -> None:
        """`weights` as `load_weights` gives them; `dense` makes int8 faster. Raises `ModelError`
        for int8 off the CPU."""
        self.shape = shape
        self.precision = precision
        self.dtype = PRECISIONS[precision]
        self.device = torch.device(device)
        if precision == "int8" and self.device.type != "cpu":
            raise ModelError("the precision int8 is for a CPU", help="use bfloat16 on a GPU")
        made = _Maker(shape, weights, precision, self.device, dense)
        self._embedding = made.tensor("embedding.weight")
        self._positions = None
        self._turns = None
        if shape.rotary is None:
            self._positions = made.tensor("positions.weight")[shape.position_offset :]
        else:
            turns = _turns(shape.rotary, shape.context_length, self.dtype)
            self._turns = turns.to(self.device)
        self._layers = [made.layer(number) for number in range(shape.layers)]
        self._norm = made.norm("norm")
        self._head = made.linear("embedding" if shape.is_tied else "head", after="norm")
        self._activation = ACTIVATIONS[shape.activation]
        self._fused = None
        if dense is not None and precision == "int8":
            self._fused = fused(shape, self._layers, self._norm, self._head, self._turns, dense)

    def forward(self, step: Step) -> Tensor:
        """The last hidden state of every token, `[tokens, hidden]`."""
        x = self._embedding.index_select(0, step.ids)
        if self._fused is not None:
            return self._fused.forward(x, step.positions, step.attend)
        if self._positions is not None:
            x = x + self._positions.index_select(0, step.positions)
        turns = None
        if self._turns is not None:
            turns = self._turns.index_select(0, step.positions)[:, None]
        for number, layer in enumerate(self._layers):
            found = step.attend(number, *self._heads(layer, x, turns))
            x = layer.out.plus(found.reshape(len(x), -1), x)
            x = layer.down.plus(self._inner(layer, x), x)
        return x

    def logits(self, hidden: Tensor) -> Tensor:
        """`[rows, vocab]`, in float32 or float64."""
        if self._fused is not None:
            return self._fused.logits(hidden)
        scores = self._head(self._norm(hidden))
        return scores if scores.dtype == torch.float64 else scores.float()

    def _heads(
        self, layer: Layer, x: Tensor, turns: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, `[tokens, heads, dim]` each, slices of wider rows."""
        shape = self.shape
        mixed = layer.qkv(layer.attention_norm(x))
        heads = mixed.view(len(x), shape.heads + 2 * shape.kv_heads, shape.head_dim)
        both, values = heads[:, : -shape.kv_heads], heads[:, -shape.kv_heads :]
        if layer.head_norm is not None:
            both = layer.head_norm(both)
        if turns is not None:
            both = _turned(both, turns)
        return both[:, : shape.heads], both[:, shape.heads :], values

    def _inner(self, layer: Layer, x: Tensor) -> Tensor:
        up = layer.up(layer.inner_norm(x))
        if not self.shape.is_gated:
            return self._activation(up)
        gate, rest = up.chunk(2, dim=1)
        return self._activation(gate).mul_(rest)


class _Maker:
    """Makes the parts of a model.

    The weight of an RMS norm is multiplied into the matrix after it, which saves a pass over the
    hidden states, where that loses nothing: rounded to int8, the product is twice as far from the
    exact one.
    """

    def __init__(
        self,
        shape: Shape,
        weights: Mapping[str, Tensor],
        precision: str,
        device: torch.device,
        dense: Dense | None,
    ) -> None:
        self._shape = shape
        self._device = device
        self._weights = weights
        self._dtype = PRECISIONS[precision]
        self._linear = partial(Int8Linear, dense=dense) if precision == "int8" else float_linear
        self._folds = shape.norm == "rms" and precision in ("float32", "float64")

    def tensor(self, name: str) -> Tensor:
        return self._weights[name].to(self._device, self._dtype)

    def bias(self, name: str) -> Tensor | None:
        name = f"{name}.bias"
        return self.tensor(name) if name in self._weights else None

    def norm(self, name: str) -> Norm:
        weight = self.tensor(f"{name}.weight")
        if self._shape.norm == "layer":
            bias = self.bias(name)
            return lambda x: F.layer_norm(x, weight.shape, weight, bias, self._shape.epsilon)
        return RmsNorm(weight, self._shape.epsilon, is_folded=self._folds)

    def linear(self, name: str, after: str = "") -> Linear:
        """`after` is the norm before it."""
        weight, bias = self.tensor(f"{name}.weight"), self.bias(name)
        if name.endswith("qkv"):
            weight, bias = self._paired(weight), None if bias is None else self._paired(bias)
        if after and self._folds:
            weight = weight * self.tensor(f"{after}.weight")
        return self._linear(weight, bias)

    def layer(self, n: int) -> Layer:
        return Layer(
            attention_norm=self.norm(f"{n}.attention_norm"),
            qkv=self.linear(f"{n}.qkv", after=f"{n}.attention_norm"),
            head_norm=self.head_norm(n) if self._shape.has_qk_norm else None,
            out=self.linear(f"{n}.out"),
            inner_norm=self.norm(f"{n}.inner_norm"),
            up=self.linear(f"{n}.up", after=f"{n}.inner_norm"),
            down=self.linear(f"{n}.down"),
        )

    def head_norm(self, n: int) -> Norm:
        """One norm for all heads of queries and keys, each with its own weight."""
        shape = self._shape
        queries = self.tensor(f"{n}.query_norm.weight").expand(shape.heads, -1)
        keys = self.tensor(f"{n}.key_norm.weight").expand(shape.kv_heads, -1)
        weight = torch.cat([queries, keys])[:, self._pairs()]
        return RmsNorm(weight, shape.epsilon)

    def _paired(self, rows: Tensor) -> Tensor:
        """`qkv` with the two rows of a rotary pair as neighbours, in queries and keys."""
        shape = self._shape
        heads = rows.view(shape.heads + 2 * shape.kv_heads, shape.head_dim, *rows.shape[1:])
        both, values = heads[: -shape.kv_heads], heads[-shape.kv_heads :]
        return torch.cat([both[:, self._pairs()], values]).view(rows.shape)

    def _pairs(self) -> Tensor:
        """The coordinates of a head in the order that makes neighbours of pairs."""
        index = torch.arange(self._shape.head_dim)
        dim = 0 if self._shape.rotary is None else self._shape.rotary.dim
        return torch.cat([index[:dim].view(2, -1).t().flatten(), index[dim:]])


def _turns(rotary: Rotary, length: int, dtype: torch.dtype) -> Tensor:
    """What each pair is multiplied with at each position: complex `[length, dim / 2]`."""
    frequencies = torch.tensor(rotary.frequencies, dtype=torch.float64)
    angles = torch.outer(torch.arange(length, dtype=torch.float64), frequencies)
    turns = torch.polar(torch.full_like(angles, rotary.scale), angles)
    return turns if dtype == torch.float64 else turns.to(torch.complex64)


def _turned(heads: Tensor, turns: Tensor) -> Tensor:
    """`heads` `[tokens, heads, dim]` by `turns` `[tokens, 1, pairs]`, in place where it can be."""
    dim = 2 * turns.shape[-1]
    wide = heads if heads.dtype.itemsize >= 4 else heads.float()
    pairs = wide[..., :dim].view(*wide.shape[:-1], dim // 2, 2)
    torch.view_as_complex(pairs).mul_(turns)
    return wide.to(heads.dtype)
