"""Real Consul agents for tests, as local processes and as containers, and helpers to arrange what they hold.

Nothing here uses the gateway's own code, so an arrangement can't share a fault with what it tests.
"""

from tests.support.consul.admin import Admin, Check, ConsulError, Health, http_check, ttl_check
from tests.support.consul.agent import ConsulAgent, StartFailed
from tests.support.consul.binary import consul_binary
from tests.support.consul.cluster import Cluster
from tests.support.consul.container import ConsulContainer
from tests.support.consul.engine import engine_reason
from tests.support.consul.options import Options, Role
from tests.support.consul.process import ConsulProcess
from tests.support.consul.tls import Authority, TlsFiles

__all__ = [
    "Admin",
    "Authority",
    "Check",
    "Cluster",
    "ConsulAgent",
    "ConsulContainer",
    "ConsulError",
    "ConsulProcess",
    "Health",
    "Options",
    "Role",
    "StartFailed",
    "TlsFiles",
    "consul_binary",
    "engine_reason",
    "http_check",
    "ttl_check",
]
