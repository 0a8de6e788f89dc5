"""A process with a core whose session has calls and a journal, for a test that kills it.

    python sessioned.py FOLDER CALLS

The first one to run makes the calls: chains of ten, drawn at random. Each waits for all texts in
turn, as a client does that asks again, and prints them as JSON. What is answered in this process is
in `FOLDER/got`; each generation that ends leaves the key of its draws in `FOLDER/said`.
"""

import asyncio
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from cores import call, given, made, output
from fronted import core_on
from journaled import Telling

from parrotc.runtime.core.core import ServeCore
from parrotc.runtime.core.sessions import Session

LONG = 10  # calls of a chain


async def begin(core: ServeCore, session: Session, calls: int) -> list[str]:
    """The outputs of the calls."""
    names = []
    for number in range(calls):
        if number % LONG == 0:
            last = (await core.create_variable(session, "q", f"What is {number}?")).id
        how = {"temperature": 1.0, "seed": number}
        asked = await call(core, session, "On {{q}}: {{a}}", given("q", var=last), made("a", **how))
        last = output(asked)
        names.append(last)
    return names


async def main(folder: Path, calls: int) -> None:
    journal = str(folder / "runs.db")
    core = core_on(Telling(folder / "said"), journal=journal, max_sessions_num=1)
    await core.start()
    client = folder / "client"
    if not client.exists():
        opened = await core.open_session(core.tenant(None))
        names = await begin(core, core.session(opened.id, opened.token), calls)
        client.write_text(json.dumps([opened.id, opened.token, names]))
    id, token, names = json.loads(client.read_text())
    session = core.session(id, token)
    texts = []
    with (folder / "got").open("a", buffering=1) as got:
        for name in names:
            texts.append(await core.get_variable(session, name))
            got.write(json.dumps(texts[-1]) + "\n")
    print(json.dumps(texts), flush=True)
    assert await core.drain(30)
    await core.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
