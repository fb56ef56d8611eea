-------------------------------- MODULE Trace --------------------------------
(* Holds a journal of the running gateway against `GatewayImpl.tla`: its     *)
(* events are taken one by one, each as the action it names. An event that   *)
(* is no behaviour of the specification ends the search there: its depth is  *)
(* the number of events taken, and one more.                                 *)
(*                                                                           *)
(* Compared are ticket, route, backend, instance, attempt and probe; `do`,   *)
(* `judged`, `circuit` and, but for Refuse, `reason`; and what the mirror    *)
(* takes from views. Not compared: times (`now`, `until`, `retry_after`),    *)
(* draws, the status of a rejection, Refuse's reason, and what `GatewayImpl` *)
(* leaves open, such as who of several candidates is picked. Every decision  *)
(* whole is what `gateway replay` compares. REVIEW.md has the table.         *)
(*                                                                           *)
(* Reality is left free; the catalog is what was delivered. Tickets are in   *)
(* recycled places; `holder` keeps apart who had a place before. A module    *)
(* that `specs/traces.py` writes extends this one: it brings the events, as  *)
(* a definition of its own, which TLC evaluates once and no more.            *)
EXTENDS GatewayProperties

CONSTANTS
    Versions,       \* the versions of routes that it names
    Selected,       \* the backends
    Mirrored,       \* the entries that views brought
    TablesNamed,    \* the routing tables
    PoliciesNamed   \* the policies in force, by service

VARIABLES
    position,       \* of the event to take next
    holder          \* [Tickets -> number of the ticket that has or had the place]

traced == <<vars, position, holder>>

Calls ==
    {"ApplyRoutes", "ApplyPolicies", "ApplyView", "ForgetService", "Prefer", "RouteRequest", "ProcessResponse",
     "Abandon", "Refuse", "Tick", "ImposeCircuit"}

\* When a call comes, what the one before set off is over: views are delivered whole, nothing is left undecided.
Settled ==
    /\ mirror = catalog
    /\ \A t \in Tickets : requests[t].state \notin Deciding

\* Why a request is rejected whose attempt failed before its head, by the kind of the failure.
ReasonOf ==
    [connect_failure |-> "upstream_unreachable", timeout |-> "upstream_timeout", reset |-> "upstream_reset",
     stale_connection |-> "upstream_reset"]

FailedBy(event) == event.kind \in DOMAIN ReasonOf /\ event.reason = ReasonOf[event.kind]

Permit(event) == IF event.probe THEN "probe" ELSE "ordinary"

TakeRouteRequest(event) ==
    LET t == event.place
        r == Versions[event.route]
        b == Selected[event.backend]
    IN  /\ event.route \in DOMAIN Versions
        /\ \/ r = routing_table[r.name]
           \/ event.superseded
           \/ event.steered /\ r = [routing_table[r.name] EXCEPT !.backends = r.backends]
        /\ holder' = [holder EXCEPT ![t] = event.ticket]
        /\ CASE event.do = "send" ->
                    /\ RouteRequestSend(t, r, b, event.instance)
                    /\ requests'[t].permit = Permit(event)
                    /\ event.attempt = 1
             [] event.do = "wait" -> RouteRequestWait(t, r, b)
             [] event.do = "reject" -> RouteRequestReject(t, r, b, event.reason)
        /\ Inside

TakeProcessResponse(event) ==
    LET t == event.place
        permit == requests[t].permit
    IN  /\ requests[t].attempts = event.attempt
        /\ CASE event.result = "head" ->
                    /\ event.judged = "succeeded" => permit # "ordinary" \/ event.status = 101
                    /\ ProcessHead(t, event.judged, event.circuit, event.do)
             [] event.result = "end" -> ProcessEnd(t, event.judged, event.circuit, event.do)
             [] event.result = "failure" /\ requests[t].state = "responding" ->
                    event.do = "break" /\ ProcessEnd(t, event.judged, event.circuit, event.do)
             [] OTHER ->
                    /\ event.judged = "none" => permit = "spent" \/ event.kind = "stale_connection"
                    /\ event.do = "reject" => FailedBy(event)
                    /\ ProcessFailure(t, event.judged, event.circuit, event.do)
        /\ Inside

TakeRetry(event) ==
    LET t == event.place
        b == Selected[event.backend]
    IN  /\ \/ /\ event.do = "send"
              /\ RetrySend(t, b, event.instance)
              /\ requests'[t].permit = Permit(event)
              /\ requests'[t].attempts = event.attempt
           \/ event.do = "wait" /\ RetryWait(t, b)
        /\ Inside

TakeReject(event) ==
    LET t == event.place IN
    /\ CASE event.reason = "queue_timeout" -> RejectLate(t)
         [] event.reason \in {"no_healthy_instance", "circuit_open"} -> RejectBlocked(t, event.reason)
         [] OTHER -> FailedBy(event) /\ RejectFailed(t)
    /\ Inside

TakeDequeue(event) ==
    LET t == event.place IN
    /\ Dequeue(t, event.instance)
    /\ requests'[t].permit = Permit(event)
    /\ requests'[t].attempts = event.attempt
    /\ Inside

\* What a view brings, as pairs of instance and entry, is what the catalog holds of that service.
TakeApplyView(event) ==
    /\ catalog' = [i \in Instances |->
        IF ServiceOf[i] # event.service THEN catalog[i]
        ELSE IF \E pair \in event.view : pair[1] = i
             THEN Mirrored[(CHOOSE pair \in event.view : pair[1] = i)[2]]
        ELSE Absent]
    /\ UNCHANGED <<reality, mirror, rules, circuit_states, requests, queue>>

TakeRegisterService(event) ==
    /\ Mirrored[event.entry] = catalog[event.instance]
    /\ RegisterService(event.instance, catalog[event.instance])
    /\ Inside
TakeDeregisterService(event) == catalog[event.instance] = Absent /\ DeregisterService(event.instance) /\ Inside
TakeUpdateHealth(event) ==
    /\ Mirrored[event.entry] = catalog[event.instance]
    /\ UpdateHealth(event.instance, catalog[event.instance])
    /\ Inside

\* What other workers say of an instance that is not here, or of a circuit that is this worker's own, is not taken.
TakeImposeCircuit(event) ==
    LET known == event.instance \in Registered IN
    IF event.taken THEN known /\ Impose(event.instance, event.state, event.passed) /\ Inside
    ELSE /\ known => event.state # "open" /\ circuit_states[event.instance].by # "elsewhere"
         /\ UNCHANGED vars

\* Events of a ticket that is in its place.
OfTicket ==
    {"ProcessResponse", "Retry", "Deliver", "Reject", "Dequeue", "Requeue", "Abandon", "Refuse", "LateProbe"}

Take(event) ==
    /\ event.action \in Calls => Settled
    /\ event.action \in OfTicket => holder[event.place] = event.ticket
    /\ event.action # "RouteRequest" => UNCHANGED holder
    /\ CASE event.action = "RouteRequest" -> TakeRouteRequest(event)
         [] event.action = "ProcessResponse" -> TakeProcessResponse(event)
         [] event.action = "Retry" -> TakeRetry(event)
         [] event.action = "Deliver" -> Deliver(event.place) /\ Inside
         [] event.action = "Reject" -> TakeReject(event)
         [] event.action = "Dequeue" -> TakeDequeue(event)
         [] event.action = "Requeue" -> Requeue(event.place, Selected[event.backend]) /\ Inside
         [] event.action = "Abandon" -> Abandon(event.place) /\ Inside
         [] event.action = "Refuse" -> Refuse(event.place) /\ Inside
         [] event.action = "TriggerCircuitBreaker" -> TriggerCircuitBreaker(event.instance) /\ Inside
         [] event.action = "LateProbe" -> LateProbe(event.place, event.circuit) /\ Inside
         [] event.action = "ImposeCircuit" -> TakeImposeCircuit(event)
         [] event.action \in {"ApplyView", "ForgetService"} -> TakeApplyView(event)
         [] event.action = "RegisterService" -> TakeRegisterService(event)
         [] event.action = "DeregisterService" -> TakeDeregisterService(event)
         [] event.action = "UpdateHealth" -> TakeUpdateHealth(event)
         [] event.action = "ApplyRoutes" -> ApplyRoutes(TablesNamed[event.table]) /\ UNCHANGED world
         [] event.action = "ApplyPolicies" -> ApplyPolicies(PoliciesNamed[event.policies]) /\ UNCHANGED world
         [] event.action \in {"Tick", "Prefer"} -> UNCHANGED vars

TraceInit ==
    /\ Init
    /\ position = 1
    /\ holder = [t \in Tickets |-> 0]

Walk(events) ==
    /\ position <= Len(events)
    /\ position' = position + 1
    /\ Take(events[position])
=============================================================================
