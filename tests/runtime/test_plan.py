"""Plans: canonical both ways, and refused politely when anything about them is wrong."""

import json
from random import Random

import pytest
from plans import plan_of

from parrotc.ir.types import (
    INT,
    Bool,
    Choice,
    Enum,
    Field,
    Float,
    Int,
    ListOf,
    Member,
    Nothing,
    Optional,
    Record,
    Scored,
    Str,
    Type,
    from_json,
    to_json,
)
from parrotc.runtime.plan import Plan, PlanError

MOOD = Enum("Mood", (Member("GOOD", "all is well"), Member("BAD")))
TEXT = """
module @m {
  enum @Mood {GOOD "all is well", BAD}
  model @local = reference "chatml"
  native @twice(%n: int) -> int = "externs:double" effectful timeout 2.0

  flow @main(%doc: str, %size: int = 3) -> list<Mood> {
    %c0 = context.open @local
    %c1 = context.fill %c0, ids[1, 2] "ab", "text: ", %doc
    context.free %c0
    %n = native @twice(%size) effectful : int
    %items = apply range(%n) : list<int>
    %moods = map (%item: int, %at: int) in %items : list<Mood> {
      %c2, %mood = context.gen %c1 site "main.0/0" name "" (temperature = 0.5) : Mood
      context.free %c2
      yield %mood
    }
    context.free %c1
    return %moods
  }
}
"""


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of(TEXT)


def test_a_plan_survives_being_written(plan: Plan) -> None:
    raw = plan.to_json()
    back = Plan.from_json(raw)
    assert back.flows == plan.flows
    assert back.types == plan.types
    assert back.natives == plan.natives
    assert back.flow_level == plan.flow_level
    assert back.to_json() == raw


def test_the_same_program_gives_the_same_bytes(plan: Plan) -> None:
    assert plan_of(TEXT).to_json() == plan.to_json()


def test_the_file_is_canonical_json(plan: Plan) -> None:
    raw = plan.to_json().decode()
    data = json.loads(raw)
    again = json.dumps(data, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    assert raw == again + "\n"


def test_a_place_leads_back_to_the_text(plan: Plan) -> None:
    span = plan.span(plan.flow("main").block.steps[3].span)
    assert span is not None
    assert span.text().startswith("%n = native @twice")


def test_any_changed_byte_is_found(plan: Plan) -> None:
    raw = plan.to_json()
    rng = Random(4)
    for at in [*range(0, 120), *rng.sample(range(len(raw)), 200)]:
        changed = bytearray(raw)
        changed[at] ^= 1 << rng.randrange(7)
        with pytest.raises(PlanError):
            Plan.from_json(bytes(changed))


@pytest.mark.parametrize(
    ("raw", "code", "words"),
    [
        (b"", "E0651", "the file is not a plan"),
        (b"\x89PNG\r\n", "E0651", "the file is not a plan"),
        (b"[1, 2]", "E0651", "the file is JSON but not a plan"),
        (b"[" * 100_000, "E0651", "the file is not a plan"),
    ],
)
def test_other_files_are_refused(raw: bytes, code: str, words: str) -> None:
    with pytest.raises(PlanError, match=words) as caught:
        Plan.from_json(raw)
    assert caught.value.diagnostic.code == code


def test_a_plan_cut_short_is_refused(plan: Plan) -> None:
    raw = plan.to_json()
    for length in (100, len(raw) // 2, len(raw) - 3):
        with pytest.raises(PlanError, match="cut short"):
            Plan.from_json(raw[:length])


def test_another_format_is_refused_by_name(plan: Plan) -> None:
    raw = plan.to_json().replace(b'"format":1', b'"format":9')
    with pytest.raises(PlanError, match="the plan has format 9, and this parrotc reads format 1"):
        Plan.from_json(raw)


def _resealed(plan: Plan, change: str, into: str) -> bytes:
    """A plan file that was changed by somebody who also mended its digest."""
    from hashlib import sha256

    data = json.loads(plan.to_json())
    text = json.dumps(data | {"digest": "0" * 64}, sort_keys=True, separators=(",", ":"))
    assert change in text
    raw = text.replace(change, into).encode()
    return raw.replace(b'"digest":"' + b"0" * 64, b'"digest":"' + sha256(raw).hexdigest().encode())


@pytest.mark.parametrize(
    ("change", "into", "words"),
    [
        ('"op":"fill"', '"op":"pickle"', "not well formed"),
        ('"timeout":2.0', '"timeout":"soon"', "not well formed"),
        ('"timeout":2.0', '"timeout":2.0,"extra":1', "not well formed"),
        ('"context":"c0"', '"context":"c9"', "reads `c9` before it is assigned"),
        ('"native":"twice"', '"native":"other"', "calls a native it does not declare"),
        ('"model":"local"', '"model":"other"', "opens a model or prefix it does not declare"),
        ('"results":["c1"]', '"results":["c0"]', "assigns `c0` twice"),
        ('"kind":"enum"', '"kind":"class"', "not a type"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(
    plan: Plan, change: str, into: str, words: str
) -> None:
    with pytest.raises(PlanError, match=words) as caught:
        Plan.from_json(_resealed(plan, change, into))
    assert caught.value.diagnostic.code == "E0654"


@pytest.mark.parametrize(
    "type_",
    [
        Str(regex="a+", max_len=3), Int(ge=1), Float(le=2.5), Bool(), Nothing(),
        Optional(ListOf(Choice(("a", "b")))), Scored(MOOD),
        Record("R", (Field("a", INT, "doc", None, True), Field("b", MOOD))),
    ],
)  # fmt: skip
def test_types_are_plain_data_and_back(type_: Type) -> None:
    data = json.loads(json.dumps(to_json(type_)))
    assert from_json(data) == type_
