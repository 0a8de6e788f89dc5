"""The OpenAPI document says what the server does: schemathesis asks by it, and checks answers."""

from collections.abc import Iterator
from typing import Any

import pytest
from fronted import ThreadedFront, core_on, threaded
from hypothesis import HealthCheck, Phase, given, settings

from parrotc.runtime.server.app import ROUTES, make_app
from parrotc.runtime.server.openapi import document

schemathesis = pytest.importorskip("schemathesis")

FEW = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
SCHEMA = schemathesis.openapi.from_dict(document(make_app(core_on(None))[ROUTES]))
OPERATIONS = {one.ok().label: one.ok() for one in SCHEMA.get_all_operations()}


@pytest.fixture(scope="module")
def front() -> Iterator[ThreadedFront]:
    with threaded(max_get=0.2, max_body=100_000) as front:
        yield front


def test_every_route_is_in_the_document(front: ThreadedFront) -> None:
    assert set(OPERATIONS) == {f"{method} {path}" for method, path in front.routes}


@pytest.mark.parametrize("label", OPERATIONS)
def test_the_document_holds(front: ThreadedFront, label: str) -> None:
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
    )

    checks = (not_a_server_error, content_type_conformance, response_schema_conformance)

    @FEW
    @given(case=OPERATIONS[label].as_strategy())
    def check(case: Any) -> None:
        response = case.call(base_url=front.url, headers=front.session, timeout=30)
        case.validate_response(response, checks=checks)

    check()
