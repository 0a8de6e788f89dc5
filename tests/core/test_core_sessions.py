"""Sessions and tenants: who may do what, for how long, how much, and what nobody may learn."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cores import call, given, made, output, plan_bytes, session_of, started

from parrotc.runtime.core.config import CoreConfig
from parrotc.runtime.core.errors import Busy, CoreError, NotFound, TooLarge, Unauthorized
from parrotc.runtime.core.tenants import read_keys, read_tenants
from parrotc.runtime.engines.configfile import ConfigError
from parrotc.runtime.engines.reference import ReferenceEngine

KEYS = """
# who   their key
alice   key-of-alice     # the first
alice   sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b
bob     key-of-bob
"""  # the hash is that of "secret"

PLAN = """
pfunc say(q: str) -> str:
    "Say {{q}}: {{gen max_tokens=8}}"

flow main(q: str) -> str:
    return say(q=q)
"""


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


async def test_a_token_opens_its_own_session_and_no_other() -> None:
    async with started() as core:
        one, two = [await core.open_session(core.tenant(None)) for _ in range(2)]
        assert core.session(one.id, one.token).id == one.id
        assert len({one.id, two.id, one.token, two.token}) == 4
        assert len(one.token) >= 43  # 256 bits in base64
        for name, token in ((one.id, two.token), (two.id, one.token), (one.id, ""), ("x", "x")):
            with pytest.raises(NotFound) as caught:
                core.session(name, token)
            assert str(caught.value) == "there is no such session, or the token is not its"


async def test_nothing_that_is_kept_or_shown_holds_a_token() -> None:
    async with started() as core:
        opened = await core.open_session(core.tenant(None))
        assert opened.token not in repr(core.session(opened.id, opened.token))
        assert opened.token not in repr(vars(core._sessions))


async def test_a_session_expires_and_takes_its_work_with_it() -> None:
    clock = Clock()
    async with started(ReferenceEngine(latency=30), clock=clock, session_life_span=60.0) as core:
        opened = await core.open_session(core.tenant(None))
        session = core.session(opened.id, opened.token)
        view = await call(core, session, "Say {{q}}: {{a}}", given("q", "x"), made("a"))
        clock.now += 59
        assert core.session(opened.id, opened.token) == session
        clock.now += 2
        with pytest.raises(NotFound):
            core.session(opened.id, opened.token)
        await session_of(core)  # whoever opens one makes room
        with pytest.raises(NotFound):
            core.variable(session, output(view))
        assert core.stats()["sessions"] == 1


async def test_there_are_no_more_sessions_than_allowed() -> None:
    async with started(max_sessions_num=2) as core:
        first = await session_of(core)
        await session_of(core)
        with pytest.raises(Busy):
            await session_of(core)
        await core.close_session(first)
        await session_of(core)


async def test_a_tenant_has_no_more_than_its_part(tmp_path: Path) -> None:
    async with started(**keyed(tmp_path), max_tenant_sessions_num=1) as core:
        await session_of(core, "key-of-alice")
        with pytest.raises(Busy):
            await session_of(core, "secret")  # hers too
        await session_of(core, "key-of-bob")


# --- keys ---


def keyed(folder: Path) -> dict[str, Any]:
    (folder / "keys").write_text(KEYS)
    return {"keys_file": str(folder / "keys")}


async def test_a_key_says_whose_it_is(tmp_path: Path) -> None:
    async with started(**keyed(tmp_path)) as core:
        names = [core.tenant(key).name for key in ("key-of-alice", "secret", "key-of-bob")]
        assert names == ["alice", "alice", "bob"]
        for key in (None, "", "key-of-alic", "key-of-alice ", "alice", "sha256:2bb8"):
            with pytest.raises(Unauthorized) as caught:
                core.tenant(key)
            assert "key-of" not in str(caught.value)


async def test_without_keys_everybody_is_one_tenant() -> None:
    async with started() as core:
        assert core.tenant(None) == core.tenant("anything")
        assert core.operator(None).name == "default"


async def test_only_operators_are_operators(tmp_path: Path) -> None:
    async with started(**keyed(tmp_path), operators=("bob",)) as core:
        assert core.operator("key-of-bob").name == "bob"
        for key in ("key-of-alice", None, "x"):
            with pytest.raises(Unauthorized):
                core.operator(key)


def test_keys_come_from_the_environment_too() -> None:
    config = CoreConfig(keys_env="SERVE_KEYS")
    assert read_tenants(config, {"SERVE_KEYS": "carol abc"}).find("abc").name == "carol"
    with pytest.raises(ConfigError, match="SERVE_KEYS"):
        read_tenants(config, {})


@pytest.mark.parametrize(
    "text", ["alice", "alice top-secret extra", "a top-secret\nb top-secret", "\n\n: top-secret x"]
)
def test_what_is_wrong_with_keys_is_told_without_them(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_keys("keys", text)
    assert "top-secret" not in str(caught.value)
    assert "line" in str(caught.value)


# --- one tenant and another ---


async def test_another_tenant_sees_nothing(tmp_path: Path) -> None:
    """For every operation: what is somebody else's is refused in the words for what never was."""
    async with started(**keyed(tmp_path)) as core:
        alice, bob = core.tenant("key-of-alice"), core.tenant("key-of-bob")
        hers, his = await session_of(core, "key-of-alice"), await session_of(core, "key-of-bob")
        variable = await core.create_variable(hers, "q", "her secret")
        await core.put_plan(alice, "hers", plan_bytes(PLAN))
        run = await core.invoke(alice, "hers", "main", {"q": "x"}, session=hers)
        await core.wait_run(alice, run.id)
        operations: list[tuple[Callable[[str], Any], str]] = [
            (lambda name: core.variable(his, name), variable.id),
            (lambda name: core.set_variable(his, name, "x"), variable.id),
            (lambda name: core.get_variable(his, name), variable.id),
            (lambda name: core.stream_variable(his, name), variable.id),
            (lambda name: core.delete_variable(his, name), variable.id),
            (lambda name: call(core, his, "{{q}}{{a}}", given("q", var=name), made("a")),
             variable.id),
            (lambda name: core.plan(bob, name), "hers"),
            (lambda name: core.plan_bytes(bob, name), "hers"),
            (lambda name: core.delete_plan(bob, name), "hers"),
            (lambda name: core.invoke(bob, name, "main", {"q": "x"}), "hers"),
            (lambda name: core.run(bob, name), run.id),
            (lambda name: core.wait_run(bob, name), run.id),
            (lambda name: core.stream_run(bob, name), run.id),
            (lambda name: core.cancel_run(bob, name), run.id),
        ]  # fmt: skip
        for operation, name in operations:
            theirs, never = await refusal(operation, name), await refusal(operation, "none")
            assert isinstance(theirs, NotFound)
            assert str(theirs).replace(name, "none") == str(never)
        with pytest.raises(NotFound):
            await core.invoke(bob, "hers", "main", {"q": "x"}, session=hers)
        assert core.variables(his) == [] and core.plans(bob) == [] and core.runs(bob) == []
        assert core.variable(hers, variable.id).content == "her secret"
        assert core.plan(alice, "hers") and core.run(alice, run.id)


async def refusal(operation: Callable[[str], Any], name: str) -> CoreError:
    with pytest.raises(CoreError) as caught:
        found = operation(name)
        if hasattr(found, "__await__"):
            await found
    return caught.value


@pytest.mark.parametrize("is_shared", [False, True])
async def test_tenants_share_no_tokens_unless_told_to(tmp_path: Path, is_shared: bool) -> None:
    salts: dict[str, set[str]] = {"": set()}

    class Salted(ReferenceEngine):
        async def fill(self, requests: Any) -> None:
            salts[""].update(request.salt for request in requests)
            await super().fill(requests)

    shared = {"share_prefixes_across_tenants": is_shared}
    async with started(Salted(), **keyed(tmp_path), **shared) as core:
        for key in ("key-of-alice", "key-of-bob", "secret"):
            session = await session_of(core, key)
            view = await call(core, session, "Say {{q}}: {{a}}", given("q", "x"), made("a"))
            await core.get_variable(session, output(view))
    assert len(salts[""]) == (1 if is_shared else 2)  # alice has two keys


# --- how much ---


async def test_sizes_are_limited() -> None:
    async with started(max_variable=10, max_template=20, max_variables=3) as core:
        session = await session_of(core)
        await core.create_variable(session, "q", "x" * 10)
        empty = (await core.create_variable(session, "r")).id
        with pytest.raises(TooLarge):
            await core.create_variable(session, "q", "x" * 11)
        with pytest.raises(TooLarge):
            await core.set_variable(session, empty, "x" * 11)
        with pytest.raises(TooLarge):
            await call(core, session, "{{q}}{{a}}", given("q", "x" * 11), made("a"))
        with pytest.raises(TooLarge):
            await call(core, session, "x" * 20 + "{{a}}", made("a"))
        with pytest.raises(Busy):
            await call(core, session, "{{q}}{{a}}{{b}}", given("q", ""), made("a"), made("b"))
        assert len(core.variables(session)) == 2, "what was refused leaves nothing"
        assert core.stats()["calls"] == 0


async def test_one_tenant_cannot_fill_the_queue_of_another(tmp_path: Path) -> None:
    slow = ReferenceEngine(latency=30)
    async with started(slow, **keyed(tmp_path), max_tenant_queue_size=2) as core:
        hers, his = await session_of(core, "key-of-alice"), await session_of(core, "key-of-bob")
        for _ in range(2):
            await call(core, hers, "Say {{a}}", made("a"))
        with pytest.raises(Busy) as caught:
            await call(core, hers, "Say {{a}}", made("a"))
        assert caught.value.retry_after > 0
        await call(core, his, "Say {{a}}", made("a"))


async def test_a_closed_session_gives_its_places_back(tmp_path: Path) -> None:
    async with started(ReferenceEngine(latency=30), max_tenant_queue_size=1) as core:
        session = await session_of(core)
        await call(core, session, "Say {{a}}", made("a"))
        await core.close_session(session)
        await call(core, await session_of(core), "Say {{a}}", made("a"))
