"""What `examples/code_review.pfn` runs its sources with.

Real programs would run tests in a container. This one only looks: each source is parsed, never
executed, so that the example is safe whatever a model writes.
"""

import ast


def run_tests(files: list[str]) -> str:
    """One line for each source: whether it is Python, and what it defines."""
    return "\n".join(f"file {number}: {_look(text)}" for number, text in enumerate(files, 1))


def _look(text: str) -> str:
    try:
        module = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        return f"FAILED, not Python: {error}"
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    names = [node.name for node in module.body if isinstance(node, kinds)]
    return f"ok, defines {', '.join(names) or 'nothing'}"
