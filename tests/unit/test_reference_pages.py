"""The committed reference pages are what the models say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from gateway.cli import reference_examples
from gateway.cli.reference import FOLDER, PAGES
from gateway.core.authentication import Credential
from gateway.discovery.documents import (
    CredentialDocument,
    RouteDocument,
    ServicePolicyDocument,
    check_policy,
    check_route,
    parse_credential,
)
from gateway.discovery.documents.reading import read
from gateway.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", PAGES)
def test_the_committed_page_is_the_generated_one(name: str) -> None:
    written = (ROOT / FOLDER / name).read_text(encoding="utf-8")
    assert written == PAGES[name](), "run python -m gateway.cli.reference"


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    page = PAGES[name]()
    anchors = set(re.findall(r'<a id="([^"]+)">', page))
    for target in re.findall(r"\]\(([^)]+)\)", page):
        if target.startswith("#"):
            assert target[1:] in anchors
        else:
            assert (ROOT / FOLDER / target).exists()


def test_every_field_has_its_row_and_meaning() -> None:
    models: list[type[BaseModel]] = [RouteDocument, ServicePolicyDocument, CredentialDocument]
    for name, model in zip(("routes.md", "service-policy.md", "credentials.md"), models, strict=True):
        page = PAGES[name]()
        schema = json.dumps(model.model_json_schema())
        for field in re.findall(r'"(\w+)": \{[^{}]*"title"', schema):
            assert f"| `{field}` |" in page
        assert not re.search(r"\|  \|$", page, re.MULTILINE), "a field without description"
    for field in Settings.model_fields:
        assert f"| `{field}` |" in PAGES["settings.md"]()


def test_the_examples_are_accepted() -> None:
    for name, check in (("routes.md", check_route), ("service-policy.md", check_policy)):
        examples = re.findall(r"```(?:json|yaml)\n(.*?)```", PAGES[name](), re.DOTALL)
        assert examples
        for example in examples:
            assert check("orders", example.encode()) == []


def test_every_field_of_a_route_is_in_an_example() -> None:
    examples = re.findall(r"```(?:json|yaml)\n(.*?)```", PAGES["routes.md"](), re.DOTALL)
    documents = [RouteDocument.model_validate(read(example.encode()).value, context={}) for example in examples]
    shown = {field for document in documents for field in _given(document)}
    known = {(model, field) for model in _models(RouteDocument) for field in model.model_fields}
    assert known - shown == set()
    assert reference_examples.ROUTES.keys() <= set(re.findall(r"^## `([\w.]+)`", PAGES["routes.md"](), re.MULTILINE))


def _given(value: object) -> Iterator[tuple[type[BaseModel], str]]:
    if isinstance(value, BaseModel):
        for name in value.model_fields_set:
            yield type(value), name
            yield from _given(getattr(value, name))
    elif isinstance(value, dict | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _given(each)


def _models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """That one, and all whose values its fields hold."""
    yield model
    for field in model.model_fields.values():
        for inner in _held(field.annotation):
            yield from _models(inner)


def _held(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _held(part)


def test_the_credential_in_the_example_is_accepted() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", PAGES["credentials.md"](), re.DOTALL)
    assert isinstance(parse_credential("acme-1", example.encode(), 1), Credential)
