"""A conversation that stays in the engine: each turn reads only what is new.

python chatbot.py "Who wrote Faust?" "And when?"
"""

import sys

import parrotc

SYSTEM = "You are a friendly assistant and answer in one sentence."
QUESTIONS = ["Who wrote Faust?", "And when?", "What is it about?"]


def talk(questions: list[str]) -> list[int]:
    """Ask one question after the other; how many tokens each turn has filled."""
    filled = []
    with parrotc.Chat(system=SYSTEM) as chat:
        for question in questions:
            before = chat.filled_tokens
            print(f"You: {question}\nIt:  ", end="")
            for piece in chat.stream(question, max_tokens=48):
                print(piece, end="", flush=True)
            filled.append(chat.filled_tokens - before)
            print(f"\n     ({filled[-1]} tokens filled, {chat.tokens} in the context)\n")
    return filled


if __name__ == "__main__":
    talk(sys.argv[1:] or QUESTIONS)
