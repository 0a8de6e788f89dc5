"""A conversation whose context stays in the engine: each turn reads only what is new."""

from parrot import P

vm = P.VirtualMachine()


@P.semantic_function(conversation_template=P.ModelTemplate("You are brief."))
def turn(words: P.Input, reply: P.Output(P.SamplingConfig(max_gen_length=24))):
    """{{words}}{{reply}}"""


def main(lines):
    for line in lines:
        reply = turn.invoke_statefully(context_successor=turn, words=line)
        print(f"You: {line}\nIt:  {reply.get()}")


vm.run(main, args=[["I am Ada.", "Who am I?"]])
