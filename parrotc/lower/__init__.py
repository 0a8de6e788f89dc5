"""Stage 3: a checked program becomes a flow-level module."""

from parrotc.lower.module import lower

__all__ = ["lower"]
