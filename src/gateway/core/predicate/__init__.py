"""Predicates: a documented subset of CEL (https://github.com/google/cel-spec), typed, bounded, compiled to closures.

text → `tokens` → `parser` → `syntax` → `checker` (with `types`, `library`) → `compiler` → `closures` over the facts.
"""

from gateway.core.predicate.bounds import MAX_SOURCE
from gateway.core.predicate.environment import Environment, Memo, Variable, itself
from gateway.core.predicate.overloads import Search, Tools
from gateway.core.predicate.program import Predicate, Program, compile_predicate, compile_program
from gateway.core.predicate.rejection import BadPredicate
from gateway.core.predicate.values import PredicateError

__all__ = [
    "MAX_SOURCE",
    "BadPredicate",
    "Environment",
    "Memo",
    "Predicate",
    "PredicateError",
    "Program",
    "Search",
    "Tools",
    "Variable",
    "compile_predicate",
    "compile_program",
    "itself",
]
