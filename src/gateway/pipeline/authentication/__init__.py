"""Who sends a request: tokens, API keys, users with passwords."""

from gateway.pipeline.authentication.authenticators import Authenticators
from gateway.pipeline.authentication.external import Ask, AskFailed
from gateway.pipeline.authentication.key_sets import Fetch
from gateway.pipeline.authentication.live_keys import LoadFailed, Time

__all__ = ["Ask", "AskFailed", "Authenticators", "Fetch", "LoadFailed", "Time"]
