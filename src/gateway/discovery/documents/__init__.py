"""The documents that operators write: routes, policies, defaults, credentials; read, checked and written back."""

from gateway.discovery.documents.credential_document import CredentialDocument
from gateway.discovery.documents.defaults import BUILT_IN, Defaults, DefaultsDocument
from gateway.discovery.documents.describe import describe, describe_policy
from gateway.discovery.documents.minting import hashed_key, hashed_password, new_key
from gateway.discovery.documents.parsing import (
    check_defaults,
    check_policy,
    check_route,
    parse_credential,
    parse_defaults,
    parse_policy,
    parse_route,
)
from gateway.discovery.documents.policy_document import ServicePolicyDocument
from gateway.discovery.documents.rejection import Rejection
from gateway.discovery.documents.route_document import RouteDocument

__all__ = [
    "BUILT_IN",
    "CredentialDocument",
    "Defaults",
    "DefaultsDocument",
    "Rejection",
    "RouteDocument",
    "ServicePolicyDocument",
    "check_defaults",
    "check_policy",
    "check_route",
    "describe",
    "describe_policy",
    "hashed_key",
    "hashed_password",
    "new_key",
    "parse_credential",
    "parse_defaults",
    "parse_policy",
    "parse_route",
]
