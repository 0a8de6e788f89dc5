"""One call with five inputs."""

from parrot import P

vm = P.VirtualMachine()


@P.semantic_function()
def recommend(
    student: P.Input,
    teacher: P.Input,
    subject: P.Input,
    grade: int,
    tone: P.Input,
    letter: P.Output(P.SamplingConfig(max_gen_length=64)),
):
    """Write a {{tone}} letter of recommendation.

    Student: {{student}}
    Teacher: {{teacher}}
    Subject: {{subject}} (grade {{grade}})

    Dear Sir or Madam,
    {{letter}}
    """


def main():
    letter = recommend("Ada", teacher="Mary", subject="mathematics", grade=1, tone="warm")
    print(letter.get())


vm.run(main)
