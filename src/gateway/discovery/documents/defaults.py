"""The document under `defaults`: what routes and services have where their own document says nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pydantic import Field

from gateway.core.authentication import Authentication
from gateway.core.filters import EditResponseHeaders, Filter
from gateway.core.limits import EVERYWHERE, NO_CORS, Cors, Networks
from gateway.core.model import HOLDS_ALWAYS, Limits, RetryPolicy, ServicePolicy, Shadow, Sticky, Timeouts, WhenEmpty
from gateway.discovery.documents.auth_document import AuthDocument
from gateway.discovery.documents.cors_document import CorsDocument
from gateway.discovery.documents.filters_document import Filters
from gateway.discovery.documents.limits_document import LimitsDocument
from gateway.discovery.documents.model import Document
from gateway.discovery.documents.networks_document import NetworksDocument
from gateway.discovery.documents.policy_document import ServicePolicyDocument
from gateway.discovery.documents.route_document import (
    RetryDocument,
    RouteDocument,
    TimeoutsDocument,
    WhenEmptyDocument,
)
from gateway.discovery.documents.shadow_document import ShadowDocument
from gateway.discovery.documents.sticky_document import StickyDocument
from gateway.discovery.documents.syntax import Require

_TIMEOUTS, _RETRY, _LIMITS, _WHEN_EMPTY = Timeouts(), RetryPolicy(), Limits(), WhenEmpty()
_POLICY = ServicePolicy("")


@dataclass(frozen=True, slots=True)
class RouteDefaults:
    """The request policies of a route."""

    timeouts: Timeouts = _TIMEOUTS
    retry: RetryPolicy = _RETRY
    limits: Limits = _LIMITS
    networks: Networks = EVERYWHERE
    cors: Cors = NO_CORS
    when_empty: WhenEmpty = _WHEN_EMPTY
    auth: Authentication | None = None
    require: str = HOLDS_ALWAYS
    filters: tuple[Filter, ...] = ()
    sticky: Sticky | None = None
    shadow: Shadow | None = None

    def under(self, document: RouteDocument | RouteDefaultsDocument) -> RouteDefaults:
        """These, with what a document gives instead."""
        return RouteDefaults(
            timeouts=document.timeouts.over(self.timeouts),
            retry=document.retry.over(self.retry),
            limits=document.limits.over(self.limits),
            networks=document.networks.over(self.networks),
            cors=document.cors.over(self.cors),
            when_empty=document.when_empty.over(self.when_empty),
            auth=document.auth.over(self.auth),
            require=document.require if "require" in document.model_fields_set else self.require,
            sticky=self.sticky if document.sticky is None else document.sticky.value(),
            shadow=self.shadow if document.shadow is None else document.shadow.value(),
            filters=tuple(each.value() for each in document.filters) if _gives_filters(document) else self.filters,
        )

    def without_instances(self) -> RouteDefaults:
        """What counts where a route answers itself: of the filters those alone that edit its answer."""
        edits = [each for each in self.filters if isinstance(each, EditResponseHeaders) and not each.edit.of_instance]
        return replace(self, filters=tuple(edits), sticky=None, shadow=None)


def _gives_filters(document: RouteDocument | RouteDefaultsDocument) -> bool:
    """An empty list is none, whatever the defaults say."""
    return "filters" in document.model_fields_set


_ROUTE = RouteDefaults()


@dataclass(frozen=True, slots=True)
class Defaults:
    """`service` names no service; each policy is made from it."""

    route: RouteDefaults = _ROUTE
    service: ServicePolicy = _POLICY


BUILT_IN = Defaults()


class RouteDefaultsDocument(Document):
    """Each field overrides the built-in default; a route's own field overrides it in turn."""

    timeouts: TimeoutsDocument = Field(TimeoutsDocument(), description="Time limits.")
    retry: RetryDocument = Field(RetryDocument(), description="What is tried again.")
    limits: LimitsDocument = Field(LimitsDocument(), description="How much at once, how large, how often.")
    networks: NetworksDocument = Field(NetworksDocument(), description="Where clients may have their addresses.")
    cors: CorsDocument = Field(CorsDocument(), description="What pages of other origins may do.")
    when_empty: WhenEmptyDocument = Field(
        WhenEmptyDocument(), description="What happens when no instance may be picked."
    )
    auth: AuthDocument = Field(
        AuthDocument.model_construct(), description="Who may send requests, on routes that do not say."
    )
    require: Require = Field(
        HOLDS_ALWAYS, description='What they may do, on routes that do not say; those say `"true"` for: everything.'
    )
    sticky: StickyDocument | None = Field(
        None, description="What keeps clients on one instance, on routes that do not say; left out: nothing."
    )
    shadow: ShadowDocument | None = Field(
        None, description="A service that gets copies of the requests of routes that do not say; left out: none."
    )
    filters: Filters = Field((), description="Changes to request and response, on routes that have no `filters`.")


class DefaultsDocument(Document):
    """Defaults of all routes and services of this group of gateways."""

    route: RouteDefaultsDocument = Field(RouteDefaultsDocument(), description="For every route.")
    service: ServicePolicyDocument = Field(ServicePolicyDocument(), description="For every service.")

    def value(self) -> Defaults:
        service = replace(self.service.over(BUILT_IN.service), service="")
        return Defaults(BUILT_IN.route.under(self.route), service)
