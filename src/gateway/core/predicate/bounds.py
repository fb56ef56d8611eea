"""What an expression may cost, stated once: limits on its text, and on each evaluation.

Outside comprehensions an evaluation visits each of at most `MAX_NODES` nodes once. Inside, every node visited, and
every `ENTRIES_PER_STEP` characters or entries handed to a function, is a step; everywhere, so is every entry of a list
or map that is compared, and what is handed to functions that are `dear`. An evaluation that needs more than `MAX_STEPS`
fails.
"""

MAX_SOURCE = 4096
"""Characters of an expression."""
MAX_NODES = 1000
"""Operators, names, literals and calls in an expression."""
MAX_DEPTH = 40
"""How deep they may be nested; a chain of `&&` or of `||` counts as one level."""
MAX_ENTRIES = 256
"""Entries of one list or map that an expression writes out."""
MAX_NESTED_COMPREHENSIONS = 3
MAX_STEPS = 10_000
ENTRIES_PER_STEP = 32
INSTRUCTIONS_PER_STEP = 32
"""How much of a compiled pattern `ENTRIES_PER_STEP` characters are held against in one step."""
MAX_TEXT = 65_536
"""Characters of a text that `+` or `join` makes; also the most that a request's head may have."""
MAX_LIST = 10_000
"""Entries of a list that `+` makes."""
