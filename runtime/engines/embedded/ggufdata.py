"""The tensors of a GGUF file, dequantised one by one as they are read."""

import math
from pathlib import Path

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

from parrotc.runtime.gguf import TensorInfo


def read_tensor(path: Path, info: TensorInfo) -> np.ndarray:
    """In float32. Raises `ValueError` where the file is cut, or for a type that is not known."""
    kind = GGMLQuantizationType(info.kind)
    block, block_bytes = GGML_QUANT_SIZES[kind]
    data = np.memmap(path, mode="r")
    raw = data[info.offset : info.offset + math.prod(info.shape) // block * block_bytes]
    rows = raw.reshape(*info.shape[:-1], -1)  # a ValueError where the file was cut
    return np.array(dequantize(rows, kind), dtype=np.float32)
