"""Tokens that somebody made up: each is refused, the log says why, and the answer does not."""

from __future__ import annotations

import base64
import hmac
import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from joserfc.jwk import OctKey
from pydantic import JsonValue

from gateway.core.authentication import Jwt, KeySetText, KeySource, SecretFile
from tests.support.tokens import CLAIMS, encoded, key_of, key_set, public, signed, token
from tests.unit.authentication_support import World, bearer, refused

RSA, EC, OTHER = key_of("RSA"), key_of("P-256"), key_of("RSA", 2)
KEYS = KeySetText(key_set(public(RSA, kid="k1"), public(EC, kid="k2")).decode())
POLICY = Jwt(KEYS, issuers=frozenset({"https://issuer.test"}), audiences=frozenset({"orders"}))
PAYLOAD = json.dumps(dict(CLAIMS)).encode()
GOOD = token("RS256", RSA)
HEAD, BODY, SIGNATURE = GOOD.split(".")

UNKNOWN_KEY = "no key is known that goes with its kid and alg"
UNKNOWN_ALGORITHM = "signed by no algorithm that is known (alg)"
WRONG = "its signature is wrong"


async def note_of(given: str, policy: Jwt = POLICY) -> str:
    world = World()
    answer, call = await world.ask(world.route(policy), bearer(given))
    assert (call.claims, call.identity) == ({}, None)
    return refused(answer).removeprefix("the token is refused: ")


def header(**members: JsonValue) -> bytes:
    return json.dumps(members).encode()


async def test_the_token_that_the_others_are_made_of_is_good() -> None:
    world = World()
    assert (await world.ask(world.route(POLICY), bearer(GOOD)))[0] is None


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", "", " none", "none ", "HS0", None, 0, [], {}])
@pytest.mark.parametrize("signature", ["", SIGNATURE])
async def test_alg_none(name: JsonValue, signature: str) -> None:
    head = encoded(header(alg=name, kid="k1"))
    assert await note_of(f"{head}.{BODY}.{signature}") == UNKNOWN_ALGORITHM


async def test_no_alg() -> None:
    assert await note_of(f"{encoded(header(kid='k1'))}.{BODY}.{SIGNATURE}") == UNKNOWN_ALGORITHM


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
@pytest.mark.parametrize("form", ["pem", "der", "jwk", "n"])
async def test_signed_with_the_public_key_as_a_secret(algorithm: str, form: str) -> None:
    secret = {
        "pem": RSA.as_bytes("PEM", private=False),  # type: ignore[union-attr] # of an RSA key
        "der": RSA.as_bytes("DER", private=False),  # type: ignore[union-attr] # as above
        "jwk": json.dumps(public(RSA)).encode(),
        "n": str(RSA["n"]).encode(),
    }[form]
    text = f"{encoded(header(alg=algorithm, kid='k1'))}.{BODY}"
    made = f"{text}.{encoded(hmac.digest(secret, text.encode(), 'sha' + algorithm[2:]))}"
    assert await note_of(made) == UNKNOWN_KEY
    assert await note_of(made, replace(POLICY, algorithms=frozenset({"RS256"}))) == (
        "signed by an algorithm that the route does not take (alg)"
    )


@pytest.mark.parametrize(
    "kid",
    [
        "../../../../dev/null", "/proc/sys/kernel/randomize_va_space", "k1\x00", "K1", "k1 ", "",
        "' UNION SELECT 'secret' --", "https://evil.test/jwks.json", "file:///etc/passwd", "*", "k1|k2", "${k1}",
    ],
)  # fmt: skip
async def test_kid_is_looked_up_and_nothing_else(kid: str) -> None:
    assert await note_of(token("RS256", RSA, kid=kid)) == UNKNOWN_KEY
    assert await note_of(token("HS256", OctKey.import_key(b"\0" * 32), kid=kid)) == UNKNOWN_KEY


@pytest.mark.parametrize("kid", ["k" * 257, 1, True, ["k1"], {"k1": 1}, 1.5])
async def test_kid_is_short_text(kid: JsonValue) -> None:
    assert await note_of(token("RS256", RSA, kid=kid)) == "its kid is not text of up to 256 characters"


@pytest.mark.parametrize(
    "members",
    [
        {"jwk": public(OTHER, kid="k1")},
        {"jku": "https://evil.test/jwks.json"},
        {"x5u": "https://evil.test/cert.pem"},
        {"x5c": ["MIIB"]},
    ],
)
async def test_a_key_that_the_token_brings_is_not_looked_at(members: dict[str, object]) -> None:
    assert await note_of(token("RS256", OTHER, members=members)) == WRONG
    assert await note_of(token("RS256", OTHER, kid="mine", members=members)) == UNKNOWN_KEY


@pytest.mark.parametrize("crit", [["exp"], ["b64"], [], "exp", None])
async def test_critical_extensions(crit: JsonValue) -> None:
    assert (
        await note_of(token("RS256", RSA, members={"crit": crit}))
        == "has critical extensions (crit), of which none is known"
    )


@pytest.mark.parametrize("value", [False, True])
async def test_unencoded_payload(value: bool) -> None:
    assert await note_of(token("RS256", RSA, members={"b64": value})) == "has an unencoded payload (b64)"


@pytest.mark.parametrize("part", [0, 1, 2])
@pytest.mark.parametrize("place", [0, 7, -1])
async def test_one_character_changed(part: int, place: int) -> None:
    parts = GOOD.split(".")
    old = parts[part]
    index = place % len(old)
    parts[part] = old[:index] + ("A" if old[index] != "A" else "Q") + old[index + 1 :]
    assert await note_of(".".join(parts))


@pytest.mark.parametrize("length", [0, 1, len(HEAD), len(HEAD) + 1, len(GOOD) - len(SIGNATURE), len(GOOD) - 4])
async def test_truncated(length: int) -> None:
    assert await note_of(GOOD[:length] or ".")


@pytest.mark.parametrize(
    "made", ["a.b", "....", f"{GOOD}.", f".{GOOD}", f"{HEAD}..{SIGNATURE}", f"{HEAD}.{BODY}.", ".."]
)
async def test_other_than_three_full_parts(made: str) -> None:
    assert await note_of(made)


async def test_an_encrypted_token() -> None:
    head = header(alg="RSA-OAEP", enc="A256GCM", kid="k1")
    assert await note_of(f"{encoded(head)}.a.b.c.d") == "encrypted, which is not taken"


@pytest.mark.parametrize(
    "made",
    [
        f"{HEAD}.{BODY}.{SIGNATURE}==", f"{HEAD}.{BODY}.{SIGNATURE}=", f"{HEAD}.{BODY} .{SIGNATURE}",
        f"{HEAD}.{BODY}\n.{SIGNATURE}", f"{HEAD}.{BODY}.{SIGNATURE[:-1]}*", f"{HEAD}.{BODY}.{SIGNATURE[:-1]}+",
        f"{HEAD}.{BODY}.{SIGNATURE[:-1]}/", f"{HEAD}.{BODY}.{SIGNATURE[:-1]}é",
    ],
)  # fmt: skip
async def test_base64url_that_is_not_so(made: str) -> None:
    assert await note_of(made) in {"not base64url", "not canonical base64url"}


async def test_stray_bits_at_the_end_of_base64url() -> None:
    """The last character of 256 bytes holds four bits that mean nothing: other texts, the same signature."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    stray = alphabet[alphabet.index(SIGNATURE[-1]) + 1]
    assert await note_of(f"{HEAD}.{BODY}.{SIGNATURE[:-1]}{stray}") == "not canonical base64url"


@pytest.mark.parametrize(
    "head",
    [
        b'{"alg": "RS256", "kid": "k1", "kid": "k1"}', b'{"alg": "none", "alg": "RS256", "kid": "k1"}',
        b'{"alg": "RS256", "\\u0061lg": "RS256", "kid": "k1"}', b'{"alg": "RS256", "x": {"a": 1, "a": 2}}', b"[]", b"",
        b'"RS256"', b'{"alg": "RS256", "kid": NaN}', b"\xff", b"[" * 4000, b'{"alg": "RS256"} {}', b"1" * 5000,
    ],
)  # fmt: skip
async def test_a_header_that_is_not_one_mapping_of_single_members(head: bytes) -> None:
    assert "its header is not" in await note_of(signed(head, PAYLOAD, "RS256", RSA), replace(POLICY, max_size=65536))


@pytest.mark.parametrize(
    "payload",
    [
        PAYLOAD[:-1] + b', "sub": "root"}', PAYLOAD[:-1] + b', "s\\u0075b": "root"}', b"[]", b"", b"null",
        PAYLOAD[:-1] + b', "act": {"sub": "a", "sub": "b"}}', PAYLOAD[:-1] + b', "x": NaN}', b"\xff" + PAYLOAD,
        PAYLOAD[:-1] + b', "x": Infinity}', b"[" * 4000, PAYLOAD + PAYLOAD,
    ],
)  # fmt: skip
async def test_claims_that_are_not_one_mapping_of_single_members(payload: bytes) -> None:
    made = signed(header(alg="RS256", kid="k1"), payload, "RS256", RSA)
    assert "its claims is not" in await note_of(made)


async def test_an_infinite_expiry() -> None:
    made = signed(
        header(alg="RS256", kid="k1"), PAYLOAD[:-1].replace(b'"exp"', b'"was"') + b', "exp": 1e999}', "RS256", RSA
    )
    assert await note_of(made) == "its exp is not a time"


async def test_oversized_is_refused_before_it_is_looked_at() -> None:
    made = token("RS256", RSA, {**CLAIMS, "padding": "x" * 8192})
    assert await note_of(made) == "longer than 8192 bytes"


def es256(signature: bytes) -> str:
    head = encoded(header(alg="ES256", kid="k2"))
    return f"{head}.{BODY}.{encoded(signature)}"


@pytest.mark.parametrize(
    "signature",
    [
        bytes(64),
        bytes(63) + b"\x01",
        bytes.fromhex("30060201010201 01".replace(" ", "")),
        b"\x30\x44" + bytes(70),
        b"",
        bytes(65),
        b"\xff" * 64,
    ],
)
async def test_odd_signatures_on_curves(signature: bytes) -> None:
    assert await note_of(es256(signature)) == WRONG


async def test_a_good_signature_on_a_curve_in_der() -> None:
    *parts, signature = token("ES256", EC, kid="k2").split(".")
    raw = signature + "=" * (-len(signature) % 4)
    both = base64.urlsafe_b64decode(raw)
    der = encode_dss_signature(int.from_bytes(both[:32]), int.from_bytes(both[32:]))
    assert await note_of(".".join([*parts, encoded(der)])) == WRONG


@pytest.mark.parametrize(
    ("algorithm", "kind"), [("ES256", "P-256"), ("ES384", "P-384"), ("EdDSA", "Ed25519"), ("RS256", "RSA")]
)
async def test_a_key_of_another_type_or_of_somebody_else(algorithm: str, kind: str) -> None:
    made = token(algorithm, key_of(kind, 3), kid="k1")
    assert await note_of(made) == (WRONG if kind == "RSA" else UNKNOWN_KEY)
    assert await note_of(token(algorithm, key_of(kind, 3), kid=None)) in {WRONG, UNKNOWN_KEY}


async def test_a_key_that_names_its_algorithm_verifies_no_other() -> None:
    keys = KeySetText(key_set(public(RSA, kid="k1", alg="RS256")).decode())
    assert await note_of(token("PS256", RSA), replace(POLICY, keys=keys)) == UNKNOWN_KEY


@pytest.mark.parametrize("source", [KeySetText("{}"), SecretFile("/nonexistent")])
async def test_without_keys_nobody_gets_in(source: KeySource) -> None:
    assert await note_of(GOOD, replace(POLICY, keys=source)) == "no keys are known"


def nested(levels: int) -> list[JsonValue]:
    found: list[JsonValue] = []
    for _ in range(levels - 1):
        found = [found]
    return found


TOO_DEEP = "its claims is nested deeper than 32 levels"
NOT_COMPUTABLE = "its claims is not JSON, each member once, integers of 64 bits at most"


@pytest.mark.parametrize(
    ("claim", "note"),
    [
        (nested(32), TOO_DEEP),
        ({"a": nested(31)}, TOO_DEEP),
        (nested(500), TOO_DEEP),
        (1 << 64, NOT_COMPUTABLE),
        (-1 << 64, NOT_COMPUTABLE),
        (10**3000, NOT_COMPUTABLE),
    ],
)
async def test_what_a_predicate_could_not_finish_with_is_no_claim(claim: JsonValue, note: str) -> None:
    assert await note_of(token("RS256", RSA, {**CLAIMS, "a": claim})) == note


@pytest.mark.parametrize("claim", [nested(31), {"a": nested(30)}, (1 << 64) - 1, 1 - (1 << 64)])
async def test_claims_may_be_as_deep_and_as_large_as_that(claim: JsonValue) -> None:
    world = World()
    answer, call = await world.ask(world.route(POLICY), bearer(token("RS256", RSA, {**CLAIMS, "a": claim})))
    assert answer is None
    assert call.claims["a"] == claim
