"""Parrot's Python interface over this compiler.

    from parrotc.compat.parrot import P

    vm = P.VirtualMachine()

    @P.semantic_function()
    def joke(topic: P.Input, text: P.Output):
        '''A joke about {{topic}}: {{text}}'''

    vm.run(lambda: print(joke("parrots").get()))

`parrotc run --parrot prog.py` lets a program say `from parrot import P`. See `docs/parrot.md`.
"""

import sys

from parrotc.compat.parrot.functions import native_function as native_function
from parrotc.compat.parrot.functions import semantic_function as semantic_function
from parrotc.compat.parrot.machine import VirtualMachine as VirtualMachine
from parrotc.compat.parrot.parameters import Input as Input
from parrotc.compat.parrot.parameters import Output as Output
from parrotc.compat.parrot.parameters import Parameter as Parameter
from parrotc.compat.parrot.parameters import ParamType as ParamType
from parrotc.compat.parrot.sampling import DispatchAnnotation as DispatchAnnotation
from parrotc.compat.parrot.sampling import PerformanceCriteria as PerformanceCriteria
from parrotc.compat.parrot.sampling import SamplingConfig as SamplingConfig
from parrotc.compat.parrot.transforms import ConversationTemplate as ConversationTemplate
from parrotc.compat.parrot.transforms import ModelTemplate as ModelTemplate
from parrotc.compat.parrot.transforms import allowing_newline as allowing_newline
from parrotc.compat.parrot.transforms import model_template as model_template
from parrotc.compat.parrot.transforms import standard_formatter as standard_formatter
from parrotc.compat.parrot.transforms import vicuna_template as vicuna_template
from parrotc.compat.parrot.variables import SemanticVariable as SemanticVariable
from parrotc.compat.parrot.variables import variable as variable

P = sys.modules[__name__]  # programs say `from parrot import P`, or `import parrot as P`
