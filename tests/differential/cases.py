"""All cases, by name."""

from tests.differential.case import Case
from tests.differential.hostile import HOSTILE
from tests.differential.requests import REQUESTS
from tests.differential.responses import RESPONSES

CASES: dict[str, Case] = {case.name: case for case in (*REQUESTS, *RESPONSES, *HOSTILE)}
assert len(CASES) == len(REQUESTS) + len(RESPONSES) + len(HOSTILE), "two cases have one name"
