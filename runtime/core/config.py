"""What a core is told when it is started: `core.json`, checked.

    config, notes = read_core_config(Path("core.json"))

A file says only what is to differ from the defaults. Parrot's files are understood too: `//` begins
a comment, and `global_scheduler` is a group whose switches may as well stand alone; so is `limits`.
What is wrong is reported at its place, all at once.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from parrotc.ir.diagnostic import Diagnostic
from parrotc.runtime.engines.config import EngineConfig, engine_config
from parrotc.runtime.engines.configfields import Words, read_fields
from parrotc.runtime.engines.configfile import CODE, At, ConfigError, ConfigFile, read_file
from parrotc.runtime.scheduling.policies import SchedulerConfig

_WORDS = Words(
    groups=("global_scheduler", "scheduler", "limits"),
    names={"max_variables_num": "max_variables", "api_keys_file": "keys_file"},
)
_Native = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")]  # `module:attr`
_Count = Annotated[int, Field(ge=1)]
_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class CoreConfig(BaseModel):
    """One field a setting. Times are in seconds, sizes of texts in characters."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    host: str = "localhost"
    port: int = Field(default=9000, ge=0, le=65535)  # 0: any free one

    # who may use it
    keys_file: str = ""  # a file of API keys (`tenants.py`)
    keys_env: str = ""  # an environment variable that holds the same text
    operators: tuple[str, ...] = Field(default=(), strict=False)  # tenants that may add engines
    tenant_weights: dict[str, _Weight] = Field(default_factory=dict)  # shares; others have 1
    share_prefixes_across_tenants: bool = False

    # the scheduler
    app_fifo: bool = True
    graph_group: bool = True
    ctx_group: bool = True
    ctx_aware: bool = True
    max_queue_size: _Count = 100_000  # calls that wait, of everybody
    max_tenant_queue_size: _Count = 20_000

    # limits
    max_sessions_num: _Count = 2048
    max_tenant_sessions_num: _Count = 1024
    max_engines_num: _Count = 2048
    max_silence: _Seconds = 120.0  # of an engine that works, before it is asked whether it lives
    session_life_span: _Seconds = 86_400.0
    max_body: _Count = 16 << 20  # bytes of one request
    max_template: _Count = 1 << 20
    max_variable: _Count = 4 << 20
    max_variables: _Count = 10_000  # of one session
    max_runs: _Count = 1_000  # that go on at the same time, of one tenant and of one session
    max_plans: _Count = 256  # of one tenant
    max_compiled: _Count = 1_024  # templates that are kept compiled
    max_get: _Seconds = 3_600.0  # that a caller may wait for a value
    max_run: _Seconds = 86_400.0  # that a run may take
    run_life_span: _Seconds = 3_600.0  # that a run is remembered after its end
    max_finished_runs: _Count = 1_000  # remembered of one tenant
    drain: _Seconds = 30.0  # that work may go on after the core was told to stop

    # natives
    natives: tuple[_Native, ...] = Field(default=(), strict=False)  # that may run
    native_path: str = ""  # a folder that is searched for their modules first
    native_workers: _Count = 8

    # what is kept, and what is told
    journal: str = ""  # a file that keeps sessions and runs over restarts
    log_dir: str = ""
    log_filename: str = ""
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    engines: tuple[EngineConfig, ...] = ()  # opened in this process

    @property
    def scheduling(self) -> SchedulerConfig:
        """The part that the scheduler is told."""
        return SchedulerConfig(
            app_fifo=self.app_fifo,
            graph_group=self.graph_group,
            ctx_group=self.ctx_group,
            ctx_aware=self.ctx_aware,
            queue_limit=self.max_queue_size,
            tenant_queue_limit=self.max_tenant_queue_size,
            weights=self.tenant_weights,
        )


def read_core_config(path: Path) -> tuple[CoreConfig, list[str]]:
    """The config of a file, and what to tell whoever wrote it: settings that change nothing.

    Raises `ConfigError` with all that is wrong.
    """
    return core_config(read_file(path))


def core_config(file: ConfigFile, at: At = ()) -> tuple[CoreConfig, list[str]]:
    """The same of the object at `at` in a file, which may hold other things too."""
    fields = read_fields(file, at, CoreConfig, _WORDS)
    engines: tuple[EngineConfig, ...] = ()
    if "engines" in fields.given:
        try:
            engines, notes = engine_configs(file, fields.given.pop("engines").path)
            fields.notes += notes
        except ConfigError as error:
            fields.wrong += error.diagnostics
    config = fields.validated()
    fields.require()
    assert config is not None  # else something was wrong
    return config.model_copy(update={"engines": engines}), fields.notes


def engine_configs(file: ConfigFile, at: At) -> tuple[tuple[EngineConfig, ...], list[str]]:
    """The engines of the list at `at`, and notes on them. Raises `ConfigError` with all faults."""
    listed = file.value(at)
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        message = f"`{at[-1]}` is a list of engines, each an object"
        raise ConfigError(Diagnostic(CODE, message, file.span(at)))
    engines: list[EngineConfig] = []
    notes: list[str] = []
    wrong: list[Diagnostic] = []
    for number in range(len(listed)):
        try:
            engine, told = engine_config(file, (*at, number))
        except ConfigError as error:
            wrong += error.diagnostics
        else:
            engines.append(engine)
            notes += told
    if wrong:
        raise ConfigError(*wrong)
    return tuple(engines), notes
