"""A model behind an endpoint, which takes texts instead of tokens.

OPENAI_API_KEY=… parrotc run --parrot text_model.py
"""

from parrot import P

vm = P.VirtualMachine()


@P.semantic_function(
    models=["gpt-4o-mini"], model_type="text", conversation_template=P.model_template
)
def joke(topic: P.Input, text: P.Output(P.SamplingConfig(max_gen_length=48))):
    """Tell a joke about {{topic}}.
    {{text}}"""


def main():
    print(joke(topic="a parrot").get(P.PerformanceCriteria.LATENCY))


vm.run(main)
