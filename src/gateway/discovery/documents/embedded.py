"""Where a place in a text that a document holds stands in the document itself."""

from __future__ import annotations

from gateway.discovery.documents.rejection import Position


def place_in_document(document: str, key: Position, text: str, place: Position) -> Position | None:
    """The place in `document` of a `place` in `text`, which is the value of the field that stands at `key`.

    Known where the document spells the text as it is: on one line behind the field, or in a block below it. None where
    it does not, by escapes or folded lines.
    """
    lines = document.splitlines()
    line, column = place
    wanted = text.rstrip("\n").split("\n")
    if len(wanted) == 1:
        behind = lines[key[0] - 1].find(wanted[0], key[1])
        if behind >= 0:
            return key[0], behind + column
    block = lines[key[0] : key[0] + line]
    if len(block) < line or not all(map(str.endswith, block, wanted)):
        return None
    return key[0] + line, len(block[-1]) - len(wanted[line - 1]) + column
