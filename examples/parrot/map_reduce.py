"""Parts at the same time, gathered as they come, then one call that merges."""

import asyncio

from parrot import P

vm = P.VirtualMachine()

summarise = vm.import_function("summarise", "prompts")
merge = vm.import_function("merge", "prompts")

PARTS = ["A boat left the harbour.", "A cat saw it go.", "Then it rained."]


async def main():
    notes = await asyncio.gather(*[summarise(part).aget() for part in PARTS])
    print(await merge("\n".join(notes)).aget())


vm.run(main)
