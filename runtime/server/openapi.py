"""The OpenAPI document of a table of routes: what the handlers check is what it says."""

import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from pydantic.json_schema import models_json_schema

from parrotc.runtime.server.routes import SESSION, TOKEN, Nothing, Route, Who

Json = Any

_REFS = "#/components/schemas/{model}"
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "type", "param"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "help": {"type": "string"},
                "notes": {"type": "array", "items": {"type": "string"}},
                "span": {"type": "object"},
            },
        }
    },
}
_SECURITY: dict[Who, list[Json]] = {
    Who.ANYBODY: [],
    Who.TENANT: [{"key": []}, {}],  # {}: a core without keys
    Who.SESSION: [{"session": [], "token": []}],
    Who.OPERATOR: [{"key": []}, {}],
}


def document(routes: Sequence[Route]) -> Json:
    models = {model for route in routes for model in (route.body, route.answer)}
    # one mode for both directions: names of models are then the same
    kinds = [
        (model, "validation" if any(model is route.body for route in routes) else "serialization")
        for model in sorted(models, key=lambda model: model.__name__)
    ]
    refs, schemas = models_json_schema(kinds, ref_template=_REFS)  # type: ignore[arg-type]
    by_model = {model: schema for (model, _), schema in refs.items()}
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_model)
    return {
        "openapi": "3.1.0",
        "info": {"title": "parrotc serve", "version": version("parrotc")},
        "paths": paths,
        "components": {
            "schemas": {**schemas.get("$defs", {}), "Error": _ERROR},
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "header", "name": SESSION},
                "token": {"type": "apiKey", "in": "header", "name": TOKEN},
            },
        },
    }


def _operation(route: Route, refs: Mapping[Any, Json]) -> Json:
    operation: dict[str, Json] = {
        "summary": route.about,
        "operationId": re.sub(r"\W+", "_", f"{route.method}_{route.path}").strip("_").lower(),
        "parameters": list(_parameters(route)),
        "responses": {
            str(route.status): {"description": "Done.", "content": _answers(route, refs)},
            "default": {"description": "Refused, or failed.", "content": _json(_ref("Error"))},
        },
        "security": _SECURITY[route.who],
    }
    if route.has_body:
        operation["requestBody"] = {"required": True, "content": _json(refs[route.body])}
    elif route.takes:
        operation["requestBody"] = {"required": True, "content": {route.takes: {"schema": {}}}}
    return operation


def _parameters(route: Route) -> Iterable[Json]:
    for name in re.findall(r"{(\w+)}", route.path):
        text = {"type": "string", "minLength": 1}
        yield {"name": name, "in": "path", "required": True, "schema": text}
    if route.body is not Nothing and not route.has_body and not route.takes:
        schema: Json = route.body.model_json_schema(ref_template=_REFS)
        for name, part in schema.get("properties", {}).items():
            if name not in ("session_id", "session_auth"):
                yield {"name": name, "in": "query", "required": False, "schema": part}


def _answers(route: Route, refs: Mapping[Any, Json]) -> Json:
    if route.gives:
        return {route.gives: {"schema": {}}}
    content = _json(refs[route.answer])
    if route.streams:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    return content


def _json(schema: Json) -> dict[str, Json]:
    return {"application/json": {"schema": schema}}


def _ref(name: str) -> Json:
    return {"$ref": _REFS.format(model=name)}
