"""What a value must be, in the words of an endpoint: fields of a request, and the way back.

    asked(PRESETS["vllm"], Constraint(choices=("a", "b")))   {"structured_outputs": {"choice": …}}
    asked(PRESETS["openai"], …)                              a schema of {"value": "a" | "b"}

Where an endpoint knows nothing but JSON, the answer is a document that holds the value, and
`Asked.value` takes it out again.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from parrotc.runtime.engines.openai.grammars import choices_grammar, regex_grammar
from parrotc.runtime.engines.openai.profiles import Profile
from parrotc.runtime.engines.protocol import Constraint, EngineError

Json = Any
_KEY = "value"


@dataclass(frozen=True, slots=True)
class Asked:
    """Fields of the request; `value` makes the value's text of an answer that is not the text."""

    fields: Mapping[str, Json] = field(default_factory=dict)
    value: Callable[[str], str] | None = None


def asked(profile: Profile, constraint: Constraint | None) -> Asked:
    """How `profile` is asked for what `constraint` says. Raises `EngineError` where it cannot be.

    JSON alone may be asked for in words only: what comes is checked against its type in any case.
    """
    if constraint is None:
        return Asked()
    if constraint.choices is not None:
        return _choices(profile, constraint.choices)
    if constraint.regex is not None:
        return _regex(profile, constraint.regex)
    assert constraint.json_schema is not None
    return _json(profile, json.loads(constraint.json_schema))


def _choices(profile: Profile, choices: tuple[str, ...]) -> Asked:
    match profile.choices:
        case "structured_outputs":
            return Asked({"structured_outputs": {"choice": list(choices)}})
        case "guided":
            return Asked({"guided_choice": list(choices)})
        case "regex":
            return _regex(profile, "|".join(map(re.escape, choices)))
        case "grammar":
            return Asked({"grammar": choices_grammar(choices)})
        case "schema" if profile.json:
            return _json(profile, {"enum": list(choices)})
    raise _unable(profile, "choices")


def _regex(profile: Profile, pattern: str) -> Asked:
    match profile.regex:
        case "structured_outputs":
            return Asked({"structured_outputs": {"regex": pattern}})
        case "guided":
            return Asked({"guided_regex": pattern})
        case "field":
            return Asked({"regex": pattern})
        case "format":
            return Asked({"response_format": {"type": "regex", "value": pattern}})
        case "grammar":
            try:
                return Asked({"grammar": regex_grammar(pattern)})
            except ValueError as error:
                raise EngineError("constraint", str(error)) from None
    raise _unable(profile, "regular expressions")


def _json(profile: Profile, schema: Json) -> Asked:
    match profile.json:
        case "format":
            return Asked(_format({"name": _KEY, "schema": schema}), _plain(schema))
        case "strict":
            is_whole = schema.get("type") == "object"
            whole = schema if is_whole else _record({_KEY: schema})
            named = {"name": _KEY, "schema": _strict(whole), "strict": True}
            return Asked(_format(named), None if is_whole else _held)
        case "text":
            written = json.dumps(schema, ensure_ascii=False)
            format_ = {"type": "json_object", "schema": written}
            return Asked({"response_format": format_}, _plain(schema))
        case "value":
            return Asked({"response_format": {"type": "json", "value": schema}}, _plain(schema))
        case "guided":
            return Asked({"guided_json": schema}, _plain(schema))
    return Asked()


def _format(schema: Json) -> dict[str, Json]:
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def _record(properties: Mapping[str, Json]) -> Json:
    return {"type": "object", "properties": dict(properties), "required": list(properties)}


def _strict(schema: Json) -> Json:
    """A schema as OpenAI wants it: every field is there, and no bound on the length of a text."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: _strict(held) for name, held in schema.items() if name != "maxLength"}
    if "properties" in schema:
        made["properties"] = {n: _strict(held) for n, held in schema["properties"].items()}
        made |= {"required": list(schema["properties"]), "additionalProperties": False}
    return made


def _plain(schema: Json) -> Callable[[str], str] | None:
    """The way back from a schema of choices, whose answers are JSON texts with quotes."""
    return _unquoted if set(schema) == {"enum"} else None


def _unquoted(answer: str) -> str:
    return _text(_parsed(answer))


def _held(answer: str) -> str:
    document = _parsed(answer)
    if not isinstance(document, dict) or _KEY not in document:
        raise EngineError("constraint", f"the endpoint's JSON has no `{_KEY}`")
    return _text(document[_KEY])


def _parsed(answer: str) -> Json:
    try:
        return json.loads(answer)
    except (ValueError, RecursionError):
        raise EngineError("constraint", "the endpoint was asked for JSON, and gave none") from None


def _text(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _unable(profile: Profile, what: str) -> EngineError:
    message = f"{profile.endpoint} cannot keep to {what} (its profile is `{profile.name}`)"
    return EngineError("unsupported", message)
