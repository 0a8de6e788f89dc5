"""A process with a core that keeps a journal, for a test that kills it.

    python journaled.py FOLDER PLAN FLOW INPUTS

Begins the run if the journal holds none, waits for its end, and prints it as JSON. Each generation
that ends in this process leaves the key of its draws in `FOLDER/said`.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from fronted import core_on

from parrotc.runtime.engines.protocol import Finished, GenerateRequest, Piece
from parrotc.runtime.engines.reference import ReferenceEngine

HERE = Path(__file__).parent


class Telling(ReferenceEngine):
    def __init__(self, path: Path) -> None:
        super().__init__(latency=0.02)
        self._file = path.open("a", buffering=1)

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Piece | Finished]:
        async for item in super().generate(request):
            if isinstance(item, Finished):
                self._file.write(f"{request.sampling.key}\n")
            yield item


async def main(folder: Path, plan: Path, flow: str, inputs: dict[str, Any]) -> None:
    core = core_on(
        Telling(folder / "said"),
        journal=str(folder / "runs.db"),
        native_path=str(HERE),
        natives=("natives:log", "natives:log_and_hang"),
        max_sessions_num=1,
    )
    await core.start()
    tenant = core.tenant(None)
    if not core.runs(tenant):
        opened = await core.open_session(tenant)
        (folder / "session").write_text(f"{opened.id} {opened.token}")
        await core.put_plan(tenant, "p", plan.read_bytes())
        session = core.session(opened.id, opened.token)
        await core.invoke(tenant, "p", flow, inputs, session=session, seed=11)
    name, token = (folder / "session").read_text().split()
    core.session(name, token)  # or there is no such session
    (run,) = core.runs(tenant)
    print(run.id, flush=True)
    over = await core.wait_run(tenant, run.id)
    diagnostic = over.diagnostic and [over.diagnostic.code, over.diagnostic.message]
    print(json.dumps([over.id, over.state, over.result, diagnostic]), flush=True)
    await core.close()


if __name__ == "__main__":
    folder, plan, flow, inputs = sys.argv[1:]
    asyncio.run(main(Path(folder), Path(plan), flow, json.loads(inputs)))
