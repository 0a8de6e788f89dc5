"""Without a GPU, Triton runs in its interpreter; it must be told before it is imported."""

import os

try:
    import torch
except ImportError:  # the tests here are skipped then
    pass
else:
    if not torch.cuda.is_available():
        os.environ.setdefault("TRITON_INTERPRET", "1")
