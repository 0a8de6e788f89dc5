"""Programs written in Python: `@pfunc` and `@flow`, read from the source text and never traced."""
