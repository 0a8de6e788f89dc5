"""What a core needs of the compiler: a template becomes a plan with one flow of one call.

    "Say {{q}}: {{a}}"   ==>   function @call(%c: context, %q: str) -> (a)
                                 %c.1 = context.fill %c, "Say ", %q, ": "
                                 %c.2, %a = context.gen %c.1 site "0" name "a" : str

The runtime knows no front end, so whoever starts a core hands this in (`services`). How tokens are
drawn is no part of it: calls with other sampling share the plan.
"""

from importlib.metadata import version

from parrotc.ir.names import Names
from parrotc.ir.ops import Block, Call, Flow, Model, Module, Param, Value
from parrotc.ir.types import STR
from parrotc.lower.template import template_function
from parrotc.passes.table import PIPELINES, run
from parrotc.passes.target import ModelTarget, Target
from parrotc.planner import make_plan
from parrotc.program import counting
from parrotc.runtime.core.core import Services
from parrotc.runtime.core.engines import Opened
from parrotc.runtime.core.models import ServedModel
from parrotc.runtime.core.templates import FLOW, SITE, Template
from parrotc.runtime.engines.config import EngineConfig, open_configured
from parrotc.runtime.models import Progress
from parrotc.runtime.plan import Plan
from parrotc.targets import EMBEDDED, REFERENCE, load_target

_LEVEL = "O1"


def services(progress: Progress | None = None) -> Services:
    """All that a core is handed in. `progress` is told what takes long while engines open."""
    return Services(
        compile=compile_template,
        open=lambda config: open_engine(config, progress),
        standard=counting,
    )


def open_engine(config: EngineConfig, progress: Progress | None = None) -> Opened:
    """The engine of a config and its model's chat template. Blocks while it loads.

    Raises `ModelError` and `ValueError` as `open_configured` does, and `CompileError`.
    """
    engine = open_configured(config, progress)
    if config.reads_text:
        return Opened(engine)
    if config.engine == REFERENCE:
        return Opened(engine, load_target(REFERENCE, "").template)
    return Opened(engine, load_target(EMBEDDED, config.spec).template)


def compile_template(template: Template, model: ServedModel) -> Plan:
    """The plan of a template for a model. Its flow takes the inputs and gives the outputs, each
    generated at the site `SITE/0`, `SITE/1`, … in the order of the template. Pure, and slow enough
    (tens of milliseconds) to be run beside an event loop and only once."""
    module = _module(template, model.name)
    target = Target({model.name: ModelTarget(model.tokenizer, None, model.context_length)})
    return make_plan(
        module,
        run(module, target, PIPELINES[_LEVEL]),
        target,
        compiler=version("parrotc"),
        level=_LEVEL,
        sources=(template.source,),
        passes=PIPELINES[_LEVEL],
    )


def _module(template: Template, model: str) -> Module:
    function = template_function("call", template.pieces, template.inputs, template.outputs)
    params = tuple(Value(name, STR) for name in template.inputs)
    result = Names(Block(params, (), ())).fresh("result", function.result_type())
    call = Call(results=(result,), function=function.name, args=params, model=model, site=SITE)
    flow = Flow(FLOW, tuple(map(Param, params)), Block(params, (call,), (result,)))
    return Module(
        "template", models=(Model(model, "served", model),), functions=(function,), flows=(flow,)
    )
