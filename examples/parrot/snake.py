"""An architect with three outputs, three programmers, one reviewer, three who revise."""

from parrot import P

vm = P.VirtualMachine()

API = P.SamplingConfig(max_gen_length=24, stop_str="```")
CODE = P.SamplingConfig(max_gen_length=32, stop_str="```")
FILES = ("main.py", "game.py", "snake.py")


@P.semantic_function()
def design(task: P.Input, main: P.Output(API), game: P.Output(API), snake: P.Output(API)):
    """You are a system architect. The task: {{task}}

    main.py: ```{{main}}```
    game.py: ```{{game}}```
    snake.py: ```{{snake}}```"""


@P.semantic_function()
def write(api: P.Input, file: str, code: P.Output(CODE)):
    """You are a programmer. Write {{file}} for this interface:
    {{api}}
    ```
    {{code}}
    ```"""


@P.semantic_function()
def review(main: P.Input, game: P.Input, snake: P.Input, comments: P.Output(CODE)):
    """You review code.
    main.py: {{main}}
    game.py: {{game}}
    snake.py: {{snake}}
    Comments: {{comments}}"""


@P.semantic_function()
def revise(code: P.Input, comments: P.Input, file: str, revised: P.Output(CODE)):
    """You are a programmer. The comments: {{comments}}
    Revise {{file}}: {{code}}
    ```
    {{revised}}
    ```"""


def main():
    apis = design("a snake game in a terminal")
    codes = [write(api, file) for api, file in zip(apis, FILES, strict=True)]
    comments = review(*codes)
    done = [revise(code, comments, file) for code, file in zip(codes, FILES, strict=True)]
    for file, code in zip(FILES, done, strict=True):
        print(f"--- {file}\n{code.get()}")


vm.run(main)
