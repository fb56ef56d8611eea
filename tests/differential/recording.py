"""What the version before made of the cases, as it is kept: one line for each message, sorted by the cases' names.

The fields that most messages of a side have are told once, as its usual ones; a message tells those that it has besides
or otherwise, and as null those that it lacks.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NotRequired, TypedDict

from tests.differential.driver import SETTINGS, TRUSTED
from tests.differential.routes import POLICY, ROUTES
from tests.differential.seen import Fields, Message, Seen

BEFORE = Path(__file__).with_name("before.json")
SERVED_BY = hashlib.sha256(repr((ROUTES, POLICY, SETTINGS, TRUSTED)).encode()).hexdigest()[:8]
"""Of what both gateways are told to do."""


@dataclass(frozen=True, slots=True)
class Recording:
    """`digests` are those of the cases, `served_by` of all that both gateways are told."""

    commit: str
    served_by: str
    digests: Mapping[str, str]
    seen: Mapping[str, Seen]


class _Message(TypedDict):
    start: str
    fields: NotRequired[Mapping[str, Sequence[str] | None]]
    body: NotRequired[str]
    cut: NotRequired[Literal[True]]


class _Case(TypedDict):
    digest: str
    kept: bool
    client: list[_Message]
    instance: list[_Message]


class _Usual(TypedDict):
    client: Fields
    instance: Fields


class _Document(TypedDict):
    commit: str
    served_by: str
    usual: _Usual
    cases: dict[str, _Case]


def load(path: Path = BEFORE) -> Recording:
    document: _Document = json.loads(path.read_text())
    usual, cases = document["usual"], document["cases"]
    return Recording(
        document["commit"],
        document["served_by"],
        {name: case["digest"] for name, case in cases.items()},
        {
            name: Seen(
                [_read(each, usual["client"]) for each in case["client"]],
                case["kept"],
                [_read(each, usual["instance"]) for each in case["instance"]],
            )
            for name, case in cases.items()
        },
    )


def dump(recording: Recording) -> str:
    usual = _Usual(
        client=_usual([message for seen in recording.seen.values() for message in seen.client]),
        instance=_usual([message for seen in recording.seen.values() for message in seen.instance]),
    )
    lines = [
        f'"commit": {json.dumps(recording.commit)},',
        f'"served_by": {json.dumps(recording.served_by)},',
        f'"usual": {json.dumps(usual, sort_keys=True)},',
        '"cases": {',
    ]
    for name, seen in sorted(recording.seen.items()):
        lines.append(f'{json.dumps(name)}: {{"digest": "{recording.digests[name]}", "kept": {json.dumps(seen.kept)},')
        lines.append(f' "client": [{_written(seen.client, usual["client"])}],')
        lines.append(f' "instance": [{_written(seen.instance, usual["instance"])}]}},')
    lines[-1] = lines[-1].removesuffix(",")
    return "\n".join(["{", *lines, "}}", ""])


def _usual(messages: Sequence[Message]) -> Fields:
    counts = Counter((name, tuple(values)) for message in messages for name, values in message.fields.items())
    return {name: values for (name, values), count in counts.items() if count > len(messages) / 2}


def _written(messages: Sequence[Message], usual: Fields) -> str:
    return ",\n  ".join(json.dumps(_parts(message, usual)) for message in messages)


def _parts(message: Message, usual: Fields) -> _Message:
    fields: dict[str, Sequence[str] | None] = dict.fromkeys(usual.keys() - message.fields.keys())
    fields |= {name: values for name, values in message.fields.items() if list(usual.get(name, ())) != list(values)}
    written = _Message(start=message.start)
    if message.body:
        written["body"] = message.body
    if not message.whole:
        written["cut"] = True
    if fields:
        written["fields"] = dict(sorted(fields.items()))
    return written


def _read(message: _Message, usual: Fields) -> Message:
    fields = {name: list(values) for name, values in usual.items()}
    for name, values in message.get("fields", {}).items():
        if values is None:
            del fields[name]
        else:
            fields[name] = list(values)
    return Message(message["start"], fields, message.get("body", ""), "cut" not in message)
