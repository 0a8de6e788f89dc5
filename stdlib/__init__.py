"""The standard library: each module is a `.pfn` file and, beside it, its Python functions.

    from std.text import chunk               # in .pfn
    from parrotc.stdlib.text import chunk    # in Python, in a flow or outside one

What is computed is Python, and what is asked of a model is `.pfn`; the `.pfn` file declares all of
it. A Python module gives the rest its Python types, under `@standard`.
"""
