"""What all document models share."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from gateway.discovery.documents.units import Between, refusal

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Value = TypeVar("Value", bound=DataclassInstance)


class Document(BaseModel):
    """A mapping with closed keys. Scalars are strict (no text for a number), lists become tuples.

    A field's default is what the core's is: it serves the reference documentation, and never overrides what the
    `defaults` key says. None is Python's "not given"; a document cannot say it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The schema as operators write documents: defaults in their notation, ranges told, no nulls."""
        found = handler(schema)
        properties = handler.resolve_ref_schema(found).get("properties", {})
        for name, field in cls.model_fields.items():
            _in_operators_words(properties[name], field)
        return found


def _in_operators_words(schema: JsonSchemaValue, field: FieldInfo) -> None:
    between = next((item for item in field.metadata if isinstance(item, Between)), None)
    if between is not None:
        schema["default"] = between.unit.show(field.default)
        words = between.in_words()
        schema["description"] = f"{field.description or ''} {words[0].upper()}{words[1:]}.".lstrip()
    if field.default is None:
        schema.pop("default", None)
        schema["anyOf"] = [kind for kind in schema["anyOf"] if kind != {"type": "null"}]
        if len(schema["anyOf"]) == 1:
            schema.update(schema.pop("anyOf")[0])


def overlaid(base: Value, document: Document, **converted: object) -> Value:
    """`base` with the fields that the operator gave; `converted` replaces values that the core spells differently."""
    given = {name: converted.get(name, getattr(document, name)) for name in document.model_fields_set}
    return replace(base, **given)


def exactly_one(document: Document) -> None:
    """Refuses a document in which not exactly one field is given."""
    if len(document.model_fields_set) != 1:
        raise refusal(f"needs exactly one of {', '.join(sorted(type(document).model_fields))}")


def only_one(document: Document, names: frozenset[str]) -> None:
    """Refuses a document in which several of these fields are given."""
    if len(document.model_fields_set & names) > 1:
        raise refusal(f"takes only one of {', '.join(sorted(names))}")
