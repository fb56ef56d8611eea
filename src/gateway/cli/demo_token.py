"""The demo's own issuer: a route for what it has signed, and a token. Its key lives as long as the call."""

from __future__ import annotations

import json
import time

_LIFETIME = 24 * 3600


def issue(owner: str, region: str) -> tuple[bytes, str]:
    """A route that takes such tokens, and one of them: its claim says which instances may serve its owner."""
    from joserfc import jwt
    from joserfc.jwk import ECKey

    key = ECKey.generate_key("P-256", {"kid": "demo"})
    claims = {"sub": owner, "aud": "shop", "region": region, "exp": int(time.time()) + _LIFETIME}
    route = {
        "match": {"path_prefix": "/account"},
        "auth": {"jwt": {"jwks": {"keys": [key.as_dict(private=False)]}, "audiences": ["shop"]}},
        "backends": [{"service": "catalog", "instances": "instance.meta.region == claims.region"}],
    }
    return json.dumps(route).encode(), jwt.encode({"alg": "ES256", "kid": "demo"}, claims, key)
