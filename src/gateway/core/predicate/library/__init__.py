"""The functions of expressions, by topic."""

from gateway.core.predicate.library import collections, instants, networks, numbers, samples, strings
from gateway.core.predicate.overloads import Functions, merged

FUNCTIONS: Functions = merged(
    collections.FUNCTIONS,
    instants.FUNCTIONS,
    networks.FUNCTIONS,
    numbers.FUNCTIONS,
    samples.FUNCTIONS,
    strings.FUNCTIONS,
)
