"""The stage of a route's filters: path, host, query and headers on the way in, headers on the way out.

Names and literal texts were checked when the route was read, and what a variable stands for is checked where it goes
(`pipeline/rendering`, `pipeline/edits`): nothing here can write a line break, leave the path, or touch a header that
frames a message. Everything is compiled once for each version of a route.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.core.filters import (
    EditQuery,
    EditRequestHeaders,
    EditResponseHeaders,
    Filter,
    HostFrom,
    OwnResponse,
    ReplacePrefix,
    RewritePath,
    SetHost,
    SetPath,
    StripPrefix,
)
from gateway.core.model import Instance
from gateway.core.template import Text
from gateway.pipeline import path_edits, query_edits, rendering
from gateway.pipeline.edits import RequestEdit, Unfit, fit_host
from gateway.pipeline.header_edits import HeaderEdit
from gateway.pipeline.own_responses import answering
from gateway.pipeline.path_edits import CompileGroups
from gateway.pipeline.stage import Answer, Call, RequestHead, ResponseHead


class Transform:
    """What goes to instances and comes back from them; or, for a route with an answer of its own, that answer."""

    def __init__(
        self, filters: Sequence[Filter], compile_groups: CompileGroups, answer: OwnResponse | None = None
    ) -> None:
        self._edits: list[RequestEdit] = []
        self._late_edits: list[HeaderEdit] = []
        """Those from the first on that names the instance: they have to wait for it, and keep their order."""
        self._response_edits: list[HeaderEdit] = []
        self._to_service = False
        host: SetHost | None = None
        for each in filters:
            if isinstance(each, EditRequestHeaders):
                self._add_request_headers(HeaderEdit(each.edit))
            elif isinstance(each, EditResponseHeaders):
                self._response_edits.append(HeaderEdit(each.edit))
            elif isinstance(each, SetHost):
                host = each
            else:
                self._edits.append(_edit(each, compile_groups))
        if host is not None:
            self._set_host(host)
        self._answer = None if answer is None else answering(answer, self._response_edits)

    def _add_request_headers(self, edit: HeaderEdit) -> None:
        if self._late_edits or edit.of_instance:
            self._late_edits.append(edit)
        else:
            self._edits.append(_editing_headers(edit))

    def _set_host(self, last: SetHost) -> None:
        if last.host is HostFrom.SERVICE:
            self._to_service = True
        elif not isinstance(last.host, HostFrom):
            self._edits.append(_setting_host(last.host))

    def request(self, call: Call) -> Answer | None:
        try:
            for edit in self._edits:
                edit(call)
            if self._answer is not None:
                return self._answer(call)
        except Unfit as unfit:
            return Answer(unfit.reason, unfit.detail)
        if self._late_edits or self._to_service:
            call.for_instance += (lambda instance, head: self._address(call, instance, head),)
        return None

    def _address(self, call: Call, instance: Instance, head: RequestHead) -> None:
        if self._to_service:
            head.host = instance.service
        for edit in self._late_edits:
            head.fields = edit.apply(call, instance, head.fields)

    def response(self, call: Call, head: ResponseHead) -> None:
        """What the gateway itself answers stays as it is: refusals are problem documents whatever the route says."""
        if not head.ours:
            for edit in self._response_edits:
                head.fields = edit.apply(call, head.instance, head.fields)


def _edit(
    each: StripPrefix | ReplacePrefix | RewritePath | SetPath | EditQuery, compile_groups: CompileGroups
) -> RequestEdit:
    match each:
        case StripPrefix(prefix):
            return path_edits.stripping(prefix)
        case ReplacePrefix():
            return path_edits.replacing(each)
        case RewritePath():
            return path_edits.rewriting(each, compile_groups)
        case SetPath(path):
            return path_edits.setting(path)
        case EditQuery(edit):
            return query_edits.editing(edit)


def _editing_headers(edit: HeaderEdit) -> RequestEdit:
    def apply(call: Call) -> None:
        call.fields = edit.apply(call, None, call.fields)

    return apply


def _setting_host(text: Text) -> RequestEdit:
    render = rendering.host(text)

    def apply(call: Call) -> None:
        call.host = fit_host(render(call, None), port=True)

    return apply
