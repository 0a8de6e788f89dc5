"""Functions that several of the programs import."""

from parrot import P

SHORT = P.SamplingConfig(max_gen_length=48)


@P.semantic_function()
def shell(command: P.Input, output: P.Output(P.SamplingConfig(max_gen_length=64, stop_str="$"))):
    """You are a Linux terminal. You print what a command prints, and nothing else.

    $ {{command}}
    {{output}}
    """


@P.semantic_function()
def answer(question: P.Input, reply: P.Output(P.SamplingConfig(max_gen_length=48, stop_str="\n"))):
    """Answer in one sentence.
    Q: {{question}}
    A:{{reply}}
    """


@P.semantic_function()
def write_code(
    requirement: P.Input, code: P.Output(P.SamplingConfig(max_gen_length=96, stop_str="```"))
):
    """You are a programmer. {{requirement}}
    ```python
    {{code}}
    ```
    """


@P.semantic_function()
def summarise(text: P.Input, summary: P.Output(SHORT)):
    """Summarise this in one sentence:
    {{text}}

    Summary: {{summary}}
    """


@P.semantic_function()
def merge(notes: P.Input, summary: P.Output(SHORT)):
    """Merge these notes into one paragraph:
    {{notes}}

    Paragraph: {{summary}}
    """


@P.semantic_function(conversation_template=P.vicuna_template)
def play(
    ready: P.Output(P.SamplingConfig(max_gen_length=12)),
    question: P.Input,
    reply: P.Output(P.SamplingConfig(max_gen_length=32)),
):
    """You are Captain Flint, who answers as a captain would. Say READY if you understood.
    {{ready}}
    The question is: {{question}}
    {{reply}}
    """
