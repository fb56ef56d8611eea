"""Operators' regular expressions: the whole text, in linear time."""

from __future__ import annotations

import time

import pytest

from gateway.discovery.regex import MAX_PATTERN, BadPattern, compile_full_match, compile_search


def test_the_whole_text_has_to_match() -> None:
    matches = compile_full_match("a|ab")
    assert matches("ab")
    assert not matches("abc")
    assert not matches("a\n")


def test_a_search_finds_a_match_anywhere() -> None:
    search = compile_search("b|c$")
    assert search.found("abx")
    assert search.found("xc")
    assert not search.found("cx")


def test_a_pattern_of_many_instructions_says_so() -> None:
    assert compile_search("a").size < 10
    assert compile_search("a.{400}b").size > 400


def test_text_that_is_not_unicode_does_not_match() -> None:
    assert not compile_full_match(".*")("\udce9")
    assert not compile_search("").found("\udce9")


@pytest.mark.parametrize("pattern", ["(", "(?=a)", r"(a)\1", "(a{1000}){1000}", "\udce9", "a" * (MAX_PATTERN + 1)])
def test_patterns_that_are_refused(pattern: str) -> None:
    with pytest.raises(BadPattern) as refused:
        compile_full_match(pattern)
    assert str(refused.value)


def test_a_catastrophic_pattern_is_harmless() -> None:
    matches = compile_full_match("(a+)+b")
    started = time.process_time()
    assert not matches("a" * 8000)
    assert time.process_time() - started < 1
