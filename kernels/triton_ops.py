"""The small kernels around attention in Triton: paged write, RMSNorm, rotary, sampling.

Each takes tensors of fixed size, so that a captured CUDA graph may hold it; each is judged against
a line of plain torch in its test.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

_FLOATS = (torch.float32, torch.bfloat16, torch.float16)


def write_kv(
    key_pool: Tensor, value_pool: Tensor, keys: Tensor, values: Tensor, slots: Tensor
) -> None:
    """Store the keys and values of T tokens in their places.

        key_pool, value_pool: [blocks, block, K, dim], contiguous
        keys, values: [T, K, dim] in the dtype of the pools; may be slices of wider rows
        slots: [T] int64: block · block size + place in the block; below 0: the token is not stored

    Tokens have different slots. Raises `ValueError` when shapes or layout differ from the above.
    """
    width = key_pool[0, 0].numel()
    _require(key_pool.is_contiguous() and value_pool.is_contiguous(), "layout of the pools")
    _require(key_pool.shape == value_pool.shape, "shape of the pools")
    _require(keys.shape == values.shape == (len(slots), *key_pool.shape[2:]), "shape")
    _require(key_pool.dtype == value_pool.dtype == keys.dtype == values.dtype, "dtype")
    _require(slots.dtype == torch.int64, "dtype of the slots")
    if len(slots):
        _require(keys[0].is_contiguous() and values[0].is_contiguous(), "layout")
        _write_kv[(len(slots),)](
            key_pool, value_pool, keys, values, slots, keys.stride(0), values.stride(0),
            WIDTH=width, PADDED=triton.next_power_of_2(width),
        )  # fmt: skip


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """x / sqrt(mean(x²) + epsilon) · weight over the last dimension of `[rows, width]`.

    float32, bfloat16 or float16, contiguous, computed in float32: within 1e-6 of float64 for
    float32, one unit in the last place for the others.
    """
    _require(x.dim() == 2 and weight.shape == x.shape[1:], "shape")
    _require(x.dtype in _FLOATS and x.dtype == weight.dtype, "dtype")
    _require(x.is_contiguous() and weight.is_contiguous(), "layout")
    out = torch.empty_like(x)
    if len(x):
        width = x.shape[1]
        _rms_norm[(len(x),)](
            x, weight, out, epsilon, WIDTH=width, PADDED=triton.next_power_of_2(width)
        )
    return out


def rotate_(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions, in place: (a, b) becomes (a cos - b sin, b cos + a sin).

        x: [T, heads, dim]; may be a slice of wider rows, as the queries in a merged projection are
        cos, sin: [T, half], contiguous; a and b are the first and the second `half` of a head

    2 · half may be less than dim: what is beyond is left alone. Computed in float32.
    """
    half = cos.shape[1]
    _require(x.dim() == 3 and cos.shape == sin.shape == (len(x), half), "shape")
    _require(2 * half <= x.shape[2], "more angles than pairs")
    _require(x.dtype in _FLOATS, "dtype")
    if len(x):
        _require(x[0].is_contiguous() and cos.is_contiguous() and sin.is_contiguous(), "layout")
        _rotate[x.shape[:2]](
            x, cos, sin, x.stride(0), DIM=x.shape[2], HALF=half,
            PADDED=triton.next_power_of_2(half),
        )  # fmt: skip
    return x


def sample(logits: Tensor, temperatures: Tensor, uniforms: Tensor) -> Tensor:
    """One id `[rows]` int64 for each row of logits `[rows, vocab]`, float32 and contiguous.

    temperatures: [rows] float32; 0 takes the largest logit, of equal ones the lowest id.
    uniforms: [rows] float32 in [0, 1): the draw is the first id at which the sum of the
    probabilities so far is above the row's number. So a draw depends on nothing but its row.
    """
    rows, vocab = logits.shape
    _require(temperatures.shape == uniforms.shape == (rows,), "shape")
    _require(logits.dtype == temperatures.dtype == uniforms.dtype == torch.float32, "dtype")
    _require(logits.is_contiguous(), "layout")
    out = torch.empty(rows, dtype=torch.int64, device=logits.device)
    if rows:
        width = min(4096, triton.next_power_of_2(vocab))
        _sample[(rows,)](logits, temperatures, uniforms, out, VOCAB=vocab, WIDTH=width)
    return out


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"{what} is not what the kernel takes")


@triton.jit
def _write_kv(
    key_pool, value_pool, keys, values, slots, key_stride, value_stride,
    WIDTH: tl.constexpr, PADDED: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0).to(tl.int64)
    slot = tl.load(slots + token)
    lanes = tl.arange(0, PADDED)
    inside = lanes < WIDTH
    if slot >= 0:
        key = tl.load(keys + token * key_stride + lanes, mask=inside)
        value = tl.load(values + token * value_stride + lanes, mask=inside)
        tl.store(key_pool + slot * WIDTH + lanes, key, mask=inside)
        tl.store(value_pool + slot * WIDTH + lanes, value, mask=inside)


@triton.jit
def _rms_norm(
    x_ptr, weight_ptr, out_ptr, epsilon, WIDTH: tl.constexpr, PADDED: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, PADDED)
    inside = lanes < WIDTH
    x = tl.load(x_ptr + row * WIDTH + lanes, mask=inside, other=0.0).to(tl.float32)
    weight = tl.load(weight_ptr + lanes, mask=inside, other=0.0).to(tl.float32)
    scale = 1.0 / tl.sqrt(tl.sum(x * x, axis=0) / WIDTH + epsilon)
    out = (x * scale * weight).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + row * WIDTH + lanes, out, mask=inside)


@triton.jit
def _rotate(
    x_ptr, cos_ptr, sin_ptr, stride,
    DIM: tl.constexpr, HALF: tl.constexpr, PADDED: tl.constexpr,
):  # fmt: skip
    token, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    lanes = tl.arange(0, PADDED)
    inside = lanes < HALF
    cos = tl.load(cos_ptr + token * HALF + lanes, mask=inside, other=0.0).to(tl.float32)
    sin = tl.load(sin_ptr + token * HALF + lanes, mask=inside, other=0.0).to(tl.float32)
    first = x_ptr + token * stride + head * DIM + lanes
    a = tl.load(first, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(first + HALF, mask=inside, other=0.0).to(tl.float32)
    tl.store(first, (a * cos - b * sin).to(x_ptr.dtype.element_ty), mask=inside)
    tl.store(first + HALF, (b * cos + a * sin).to(x_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _sample(
    logits_ptr, temperatures_ptr, uniforms_ptr, out_ptr, VOCAB: tl.constexpr, WIDTH: tl.constexpr
):
    """Three walks over a row: the largest logit, the sum of the weights, and where the draw is."""
    row = tl.program_id(0)
    logits = logits_ptr + row.to(tl.int64) * VOCAB
    lanes = tl.arange(0, WIDTH)
    top, chosen = float("-inf"), 0
    for start in range(0, VOCAB, WIDTH):
        logit = tl.load(logits + start + lanes, mask=start + lanes < VOCAB, other=float("-inf"))
        best = tl.max(logit, axis=0)
        if best > top:
            top = best
            chosen = start + tl.argmax(logit, axis=0, tie_break_left=True)
    temperature = tl.load(temperatures_ptr + row)
    if temperature > 0:
        total = 0.0
        for start in range(0, VOCAB, WIDTH):
            logit = tl.load(logits + start + lanes, mask=start + lanes < VOCAB, other=float("-inf"))
            total += tl.sum(tl.exp((logit - top) / temperature), axis=0)
        target = tl.load(uniforms_ptr + row) * total
        before, passed = 0.0, 0
        for start in range(0, VOCAB, WIDTH):
            logit = tl.load(logits + start + lanes, mask=start + lanes < VOCAB, other=float("-inf"))
            weight = tl.exp((logit - top) / temperature)
            upto = before + tl.cumsum(weight, axis=0)
            # ids up to which the sum is not above the target; what has no weight cannot be drawn
            passed += tl.sum((upto <= target).to(tl.int32), axis=0)
            before += tl.sum(weight, axis=0)
        # rounding may leave the target at the very end: the likeliest id is drawn then
        chosen = tl.where(passed < VOCAB, passed, chosen)
    tl.store(out_ptr + row, chosen)
