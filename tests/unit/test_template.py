"""Texts with variables: how they are read, shown, and refused."""

from __future__ import annotations

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from gateway.core.template import BadTemplate, Group, Source, Template, Text, Variable, as_written, parse


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("", ""),
        ("plain }{ text", "plain }{ text"),
        ("$$", "$"),
        ("$${request.id}", "${request.id}"),
        ("$$$$1", "$$1"),
        ("${request.id}", Template((Variable(Source.REQUEST_ID),))),
        ("a$$${request.path}$$b", Template(("a$", Variable(Source.PATH), "$b"))),
        ("${request.header.X-Tenant}", Template((Variable(Source.HEADER, "x-tenant"),))),
        ("${request.cookie.Sid}", Template((Variable(Source.COOKIE, "Sid"),))),
        ("${claims.https://a.b/roles}", Template((Variable(Source.CLAIM, "https://a.b/roles"),))),
        ("${request.query.q:-a:-b}", Template((Variable(Source.QUERY, "q", "a:-b"),))),
        ("${route.name:-}", Template((Variable(Source.ROUTE),))),
    ],
)
def test_a_text_is_read_once_into_its_parts(text: str, read: Text) -> None:
    assert parse(text) == read


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a$b", "character 2: a dollar sign that stands for itself is written $$"),
        ("$", "character 1: a dollar sign that stands for itself is written $$"),
        ("$1", "character 1: a dollar sign that stands for itself is written $$"),
        ("ab${request.id", "character 3: a variable ends with } and holds none of ${}"),
        ("${a${request.id}}", "character 1: a variable ends with } and holds none of ${}"),
        ("${request.heder.x-a}", "character 1: there is no such variable; did you mean request.header.x-a?"),
        ("x ${claim.sub}", "character 3: there is no such variable; did you mean claims.sub?"),
        ("${request.cilent_ip}", "character 1: there is no such variable; did you mean request.client_ip?"),
        ("${request.header}", "character 1: there is no such variable; did you mean request.header.NAME?"),
        ("${request.header.}", "character 1: request.header. has to be followed by a name"),
        ("${request.header.a b}", "character 1: request.header. has to be followed by a name"),
        ("${request.query.a\nb}", "character 1: request.query. has to be followed by a name"),
        (
            "${instance.node}",
            "character 1: instance.node is known only once an instance is picked, and stands in headers alone",
        ),
        ("${request.id}" * 17, "character 1: it has more than 16 variables"),
    ],
)
def test_what_is_no_template_is_refused_in_its_place(text: str, reason: str) -> None:
    with pytest.raises(BadTemplate) as bad:
        parse(text)
    assert bad.value.reason == reason


def test_what_resembles_nothing_is_told_what_there_is() -> None:
    with pytest.raises(BadTemplate, match=r"known are request\.method, .*request\.query\.NAME.*instance\.meta\.NAME"):
        parse("${zzz}")


def test_the_instance_is_named_where_that_is_allowed() -> None:
    read = parse("${request.id}-${instance.meta.zone:-none}", instance=True)
    assert read == Template((Variable(Source.REQUEST_ID), "-", Variable(Source.INSTANCE_META, "zone", "none")))
    assert isinstance(read, Template)
    assert read.of_instance
    request = parse("${request.id}", instance=True)
    assert isinstance(request, Template)
    assert not request.of_instance


def test_groups_of_a_pattern() -> None:
    assert parse("/$1$2x", groups=2) == Template(("/", Group(1), Group(2), "x"))
    assert parse("${12}", groups=12) == Template((Group(12),))
    assert parse("$12", groups=1) == Template((Group(1), "2"))
    with pytest.raises(BadTemplate, match="there is no group 3: the pattern has 2"):
        parse("/$3", groups=2)
    with pytest.raises(BadTemplate, match="written"):
        parse("/$0", groups=2)


PIECES = st.sampled_from(
    ["$", "{", "}", "${", "$$", ":-", ".", "1", "${1}", "$2", "${12}", "x", "é", "\n"]
    + [f"${{{source.value}n}}" if source.many else f"${{{source.value}:-d}}" for source in Source]
)
TEXTS = st.lists(PIECES | st.text(max_size=3), max_size=8).map("".join)


@given(TEXTS, st.booleans(), st.none() | st.integers(0, 20))
@example("${request.query.$}", True, None)
def test_any_text_is_read_or_refused_and_reads_again_as_it_is_shown(
    text: str, instance: bool, groups: int | None
) -> None:
    try:
        read = parse(text, instance=instance, groups=groups)
    except BadTemplate as bad:
        event(bad.reason)
        return
    shown = as_written(read)
    assert parse(shown, instance=instance, groups=groups) == read
    assert as_written(parse(shown, instance=instance, groups=groups)) == shown


@given(st.text())
def test_any_literal_can_be_written(literal: str) -> None:
    assert parse(as_written(literal)) == literal
