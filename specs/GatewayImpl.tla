----------------------------- MODULE GatewayImpl -----------------------------
(* The gateway as `core/gateway.py` and its rooms run it: routes, the mirror *)
(* of Consul, circuits, picks, queue, attempts and retries. One action is    *)
(* one event of `core/events.py`, under the same name; what one call of the  *)
(* code does in one go are several actions here, between which other tickets *)
(* may move: more behaviours than the code has, never fewer.                 *)
(*                                                                           *)
(* Reality (what an instance really does), the catalog (what Consul holds)   *)
(* and the mirror (our copy) are three different variables. Time is left     *)
(* out: what a timer does may happen whenever its cause is there. Balancing  *)
(* may pick any instance that the policy allows.                             *)
EXTENDS Integers, FiniteSets, Sequences, TLC

CONSTANTS
    Instances,
    Tickets,        \* places for tickets, taken again when they have ended
    Nowhere,        \* no instance
    ServiceOf,      \* [Instances -> services]
    Routes,         \* names of routes
    Tables,         \* bound of the model: routing tables that operators may put in force
    PolicySets,     \* bound of the model: policies that operators may put in force, [services -> policy]
    Entries,        \* bound of the model: what Consul may hold of an instance, besides Absent
    Realities,      \* what an instance may really do: "well", "failing", "hung"; or "any", all of these in one
    FailuresKept,   \* bound of the model: failures in a row are counted up to this
    FairServices    \* services whose time-outs come, and whose tickets the gateway serves

VARIABLES
    reality,        \* [Instances -> Realities]
    catalog,        \* [Instances -> entry or Absent]: what Consul holds
    mirror,         \* the same, as it was last delivered to us
    policies,       \* [services -> policy]
    routing_table,  \* [Routes -> version of a route, or NoRoute]
    circuit_states, \* [Instances -> circuit]
    requests,       \* [Tickets -> ticket]
    queue           \* tickets that wait, in the order in which they joined

world == <<reality, catalog>>
rules == <<policies, routing_table>>
vars == <<reality, catalog, mirror, policies, routing_table, circuit_states, requests, queue>>

\* An entry: [health, weighs_passing, weighs_warning, selections]: whether it has a weight under passing and under
\* warning, and which selections of backends (tags, metadata) take it.
Absent == [health |-> "absent", weighs_passing |-> FALSE, weighs_warning |-> FALSE, selections |-> {}]

\* A version of a route: [name, version, backends, attempts, in_flight, queue]; 0 in flight is no limit. A backend:
\* [service, selection, panic, fallback], panic being "none" or the sickest health that a panic may pick, fallback
\* whether it is there only for when the others have nothing to pick from. What a request says about instances is one
\* more choice of a selection: the version that its ticket keeps has the backends as that request may use them.
NoRoute == [name |-> "", version |-> 0, backends |-> {}, attempts |-> 0, in_flight |-> 0, queue |-> 0]
NoBackend == [service |-> "", selection |-> "", panic |-> "none", fallback |-> FALSE]

\* A policy: [consecutive_failures, failure_ratio, half_open_probes, max_open, mode, in_flight_per_instance], max_open
\* in millionths, failure_ratio whether that rule is on. The window of that rule is not modelled: where the rule is on,
\* any failure may trip.

\* A circuit. `by` is who made it what it is: "own", this worker; "elsewhere", another worker has it, and here it is open;
\* "given", another one said so last.
Circuit(state) == [state |-> state, failures |-> 0, probes |-> 0, passed |-> 0, by |-> "own"]

\* A ticket. `permit` is what its attempt carries from the circuit: "ordinary"; "probe", holding a place; or "spent":
\* it was judged, or its epoch is past, so that it says nothing any more.
Blank(state) ==
    [state |-> state, route |-> NoRoute, backend |-> NoBackend, tried |-> {}, attempts |-> 0,
     instance |-> Nowhere, permit |-> "spent"]

Ended == {"responded", "rejected", "abandoned", "broken"}
Deciding == {"retry_or_deliver", "retry_or_reject"}
Flying == {"attempting", "responding"} \cup Deciding
Live == Flying \cup {"queued"}

Severity == [passing |-> 0, warning |-> 1, critical |-> 2, maintenance |-> 3, absent |-> 4]
Million == 1000000

-----------------------------------------------------------------------------
\* What may be picked

Registered == {i \in Instances : mirror[i] # Absent}
services == {ServiceOf[i] : i \in Registered}
service_health == [i \in Registered |-> mirror[i].health]

Policy(i) == policies[ServiceOf[i]]

Weighs(entry) ==
    \/ entry.health = "passing" /\ entry.weighs_passing
    \/ entry.health = "warning" /\ entry.weighs_warning

Pool(b) == {i \in Registered : ServiceOf[i] = b.service /\ b.selection \in mirror[i].selections}

\* Members whose health lets them be picked, or in a panic, those that are not too sick.
Healthy(b) ==
    LET fit == {i \in Pool(b) : Weighs(mirror[i])} IN
    IF fit # {} \/ b.panic = "none" THEN fit
    ELSE {i \in Pool(b) : Severity[mirror[i].health] <= Severity[b.panic] /\ mirror[i].weighs_passing}

HoldsProbe(t) == requests[t].state \in Flying /\ requests[t].permit = "probe"

\* The places of probes on i that are taken, if ticket t gave its own back.
ProbesBut(t, i) == circuit_states[i].probes - (IF HoldsProbe(t) /\ requests[t].instance = i THEN 1 ELSE 0)

PermitsBut(t, i) ==
    \/ circuit_states[i].state = "closed"
    \/ Policy(i).mode # "enforce"
    \/ circuit_states[i].state = "half_open" /\ ProbesBut(t, i) < Policy(i).half_open_probes

Permits(i) ==
    \/ circuit_states[i].state = "closed"
    \/ Policy(i).mode # "enforce"
    \/ circuit_states[i].state = "half_open" /\ circuit_states[i].probes < Policy(i).half_open_probes

Permitted(b) == {i \in Healthy(b) : Permits(i)}
Blocked(b) == Permitted(b) = {}
BlockedFor(b) == IF Healthy(b) # {} THEN "circuit_open" ELSE "no_healthy_instance"

FlyingOnBut(t, i) == Cardinality({u \in Tickets \ {t} : requests[u].state \in Flying /\ requests[u].instance = i})

\* Permitted and not busy, if ticket t gave back what it holds.
EligibleBut(t, b) ==
    {i \in Healthy(b) :
        /\ PermitsBut(t, i)
        /\ Policy(i).in_flight_per_instance = 0 \/ FlyingOnBut(t, i) < Policy(i).in_flight_per_instance}

\* One that was not tried if there is one; one that was, only where the pool permits no other.
Candidates(t, b, tried) ==
    LET eligible == EligibleBut(t, b)
        permitted == {i \in Healthy(b) : PermitsBut(t, i)}
    IN  IF eligible \ tried # {} THEN eligible \ tried ELSE IF permitted \subseteq tried THEN eligible ELSE {}

-----------------------------------------------------------------------------
\* Who may go, and who waits

RouteFullBut(t, r) ==
    /\ r.in_flight > 0
    /\ Cardinality({u \in Tickets \ {t} : requests[u].state \in Flying /\ requests[u].route.name = r.name})
        >= r.in_flight

Queued(r) == {t \in Tickets : requests[t].state = "queued" /\ requests[t].route.name = r.name}

IsFresh(t) == requests[t].tried = {}
Lane(t) == <<requests[t].route.name, requests[t].backend>>

FreshWaits(r, b) == \E t \in Queued(r) : IsFresh(t) /\ requests[t].backend = b

\* The oldest of the fresh tickets in their lane; a retry goes as it can.
MayLeave(t) ==
    IsFresh(t) =>
        LET fresh == SelectSeq(queue, LAMBDA u : IsFresh(u) /\ Lane(u) = Lane(t)) IN fresh[1] = t

CanGo(t) ==
    /\ MayLeave(t)
    /\ ~RouteFullBut(t, requests[t].route)
    /\ Candidates(t, requests[t].backend, requests[t].tried) # {}

\* A backend in which nothing may be picked gives its share to the others, if there are any others; a fallback has one
\* only then.
MayChoose(r, b) ==
    /\ b \in r.backends
    /\ Blocked(b) => \A other \in r.backends : Blocked(other)
    /\ b.fallback /\ ~Blocked(b) => \A other \in r.backends : other.fallback \/ Blocked(other)

Without(t) == SelectSeq(queue, LAMBDA u : u # t)

-----------------------------------------------------------------------------
\* Circuits

\* All attempts on i are of a past epoch from here on.
Spent(i, these) ==
    [t \in Tickets |-> IF these[t].instance = i /\ these[t].state \in Flying
                       THEN [these[t] EXCEPT !.permit = "spent"] ELSE these[t]]

\* The circuits when ticket t has given back the place of a probe that says nothing.
Freed(t) ==
    IF HoldsProbe(t) THEN [circuit_states EXCEPT ![requests[t].instance].probes = @ - 1] ELSE circuit_states

\* An attempt of ticket t begins on i: the circuits then, and its permit.
WantsProbe(t, i) ==
    circuit_states[i].state = "half_open" /\ ProbesBut(t, i) < Policy(i).half_open_probes
BegunOn(t, i) ==
    IF WantsProbe(t, i) THEN [Freed(t) EXCEPT ![i].probes = @ + 1] ELSE Freed(t)

MembersOf(s) == {i \in Registered : ServiceOf[i] = s}
MayOpenAnother(i) ==
    LET s == ServiceOf[i]
        not_closed == {j \in MembersOf(s) : Weighs(mirror[j]) /\ circuit_states[j].state # "closed"}
    IN  Cardinality(not_closed) < (Policy(i).max_open * Cardinality(MembersOf(s))) \div Million

\* What judging the attempt of ticket t so may do to its circuit.
Verdicts(t, judged) ==
    LET i == requests[t].instance
        c == circuit_states[i]
        p == Policy(i)
        opened == IF MayOpenAnother(i) THEN "trip" ELSE "held"
    IN  CASE judged = "none" \/ requests[t].permit = "spent" -> {"none"}
          [] requests[t].permit = "probe" /\ judged = "succeeded" ->
                IF c.passed + 1 >= p.half_open_probes THEN {"probes_passed"} ELSE {"none"}
          [] requests[t].permit = "probe" /\ judged = "failed" -> IF p.mode = "off" THEN {"none"} ELSE {"probe_failed"}
          [] requests[t].permit = "ordinary" /\ judged = "succeeded" -> {"none"}
          [] requests[t].permit = "ordinary" /\ judged = "failed" ->
                IF p.mode = "off" \/ c.state # "closed" THEN {"none"}
                ELSE IF p.consecutive_failures > 0 /\ c.failures + 1 >= p.consecutive_failures THEN {opened}
                ELSE IF p.failure_ratio THEN {"none", opened} ELSE {"none"}

Transitions ==
    [closed    |-> [trip |-> "open"],
     open      |-> [mature |-> "half_open"],
     half_open |-> [probes_passed |-> "closed", probe_failed |-> "open"]]

Least(a, b) == IF a < b THEN a ELSE b

\* The circuit of ticket t's instance once it was judged so and that came of it.
Judged(t, judged, circuit) ==
    LET i == requests[t].instance
        c == circuit_states[i]
    IN  IF judged = "none" \/ requests[t].permit = "spent" THEN c
        ELSE IF circuit \in {"trip", "probes_passed", "probe_failed"} THEN Circuit(Transitions[c.state][circuit])
        ELSE IF requests[t].permit = "probe"
             THEN [c EXCEPT !.probes = @ - 1, !.passed = @ + (IF judged = "succeeded" THEN 1 ELSE 0)]
        ELSE IF c.state # "closed" \/ (Policy(i).mode = "off" /\ judged = "failed") THEN c
        ELSE [c EXCEPT !.failures = IF judged = "failed" THEN Least(@ + 1, FailuresKept) ELSE 0]

\* Ticket t was judged so, that came of it, and t is now as given.
Judge(t, judged, circuit, ticket) ==
    LET i == requests[t].instance
        others == IF circuit \in {"trip", "probes_passed", "probe_failed"} THEN Spent(i, requests) ELSE requests
        after == [circuit_states EXCEPT ![i] = Judged(t, judged, circuit)]
        gives_back == judged = "none" /\ HoldsProbe(t) /\ ticket.permit # "probe"
    IN  /\ circuit \in Verdicts(t, judged)
        /\ requests' = [others EXCEPT ![t] = ticket]
        /\ circuit_states' = IF gives_back THEN [after EXCEPT ![i].probes = @ - 1] ELSE after

-----------------------------------------------------------------------------
\* A ticket is opened: the decision of `route_request`

Opens(t, r, b) == requests[t].state \in Ended /\ MayChoose(r, b)

Attempting(t, r, b, tried, attempts, i) ==
    [state |-> "attempting", route |-> r, backend |-> b, tried |-> tried, attempts |-> attempts,
     instance |-> i, permit |-> IF WantsProbe(t, i) THEN "probe" ELSE "ordinary"]

Waiting(r, b, tried, attempts) ==
    [Blank("queued") EXCEPT !.route = r, !.backend = b, !.tried = tried, !.attempts = attempts]

GoesAtOnce(t, r, b) == ~FreshWaits(r, b) /\ ~RouteFullBut(t, r) /\ Candidates(t, b, {}) # {}

RouteRequestSend(t, r, b, i) ==
    /\ Opens(t, r, b)
    /\ ~Blocked(b)
    /\ GoesAtOnce(t, r, b)
    /\ i \in Candidates(t, b, {})
    /\ requests' = [requests EXCEPT ![t] = Attempting(t, r, b, {}, 1, i)]
    /\ circuit_states' = BegunOn(t, i)
    /\ UNCHANGED <<mirror, queue>>

RouteRequestWait(t, r, b) ==
    /\ Opens(t, r, b)
    /\ ~Blocked(b)
    /\ ~GoesAtOnce(t, r, b)
    /\ Cardinality(Queued(r)) < r.queue
    /\ requests' = [requests EXCEPT ![t] = Waiting(r, b, {}, 0)]
    /\ queue' = Append(queue, t)
    /\ UNCHANGED <<mirror, circuit_states>>

RouteRequestReject(t, r, b, reason) ==
    /\ Opens(t, r, b)
    /\ \/ Blocked(b) /\ reason = BlockedFor(b)
       \/ /\ ~Blocked(b) /\ reason = "queue_full"
          /\ ~GoesAtOnce(t, r, b)
          /\ Cardinality(Queued(r)) >= r.queue
    /\ requests' = [requests EXCEPT ![t] = Blank("rejected")]
    /\ UNCHANGED <<mirror, circuit_states, queue>>

-----------------------------------------------------------------------------
\* What became of an attempt: `process_response`

\* A good head judges a probe; its body counts on as an ordinary attempt of the epoch that the head led into.
ProcessHead(t, judged, circuit, do) ==
    LET ticket == requests[t]
        permit == IF judged = "none" \/ ticket.permit = "spent" THEN ticket.permit
                  ELSE IF judged = "succeeded" THEN "ordinary" ELSE "spent"
    IN  /\ ticket.state = "attempting"
        /\ ticket.permit = "probe" => judged # "none"
        /\ do = "again" => ticket.attempts < ticket.route.attempts
        /\ do \in {"deliver", "again"}
        /\ Judge(t, judged, circuit,
                 [ticket EXCEPT !.permit = permit,
                                !.state = IF do = "again" THEN "retry_or_deliver" ELSE "responding"])
        /\ UNCHANGED <<mirror, queue>>

\* `judged` "none" is a stale connection: no answer at all on a connection that was used before.
ProcessFailure(t, judged, circuit, do) ==
    LET ticket == requests[t]
        permit == IF judged = "none" THEN ticket.permit ELSE "spent"
    IN  /\ ticket.state = "attempting"
        /\ judged # "succeeded"
        /\ \/ /\ do = "again"
              /\ ticket.attempts < ticket.route.attempts
              /\ Judge(t, judged, circuit, [ticket EXCEPT !.permit = permit, !.state = "retry_or_reject"])
           \/ do = "reject" /\ Judge(t, judged, circuit, Blank("rejected"))
           \/ do = "break" /\ Judge(t, judged, circuit, Blank("broken"))
        /\ UNCHANGED <<mirror, queue>>

ProcessEnd(t, judged, circuit, do) ==
    LET ticket == requests[t] IN
    /\ ticket.state = "responding"
    /\ \/ judged = "succeeded" /\ do = "done" /\ Judge(t, judged, circuit, Blank("responded"))
       \/ judged = "failed" /\ do = "break" /\ Judge(t, judged, circuit, Blank("broken"))
       \/ judged = "none" /\ ticket.permit = "spent" /\ do \in {"done", "break"}
          /\ Judge(t, judged, circuit, Blank(IF do = "done" THEN "responded" ELSE "broken"))
    /\ UNCHANGED <<mirror, queue>>

\* An instance of the ticket's backend that it has not tried is permitted; the place of its own probe is still taken.
Offers(b, tried) == ~(Permitted(b) \subseteq tried)

MayRetryOn(t, b) ==
    LET ticket == requests[t]
        tried == ticket.tried \cup {ticket.instance}
    IN  /\ ticket.state \in Deciding
        /\ ~Blocked(b)
        /\ IF Offers(ticket.backend, tried) THEN b = ticket.backend
           ELSE IF \E other \in ticket.route.backends : Offers(other, tried)
                THEN /\ b \in ticket.route.backends /\ Offers(b, tried)
                     /\ b.fallback => \A other \in ticket.route.backends : other.fallback \/ ~Offers(other, tried)
           ELSE IF ~Blocked(ticket.backend) THEN b = ticket.backend
           ELSE MayChoose(ticket.route, b)

RetrySend(t, b, i) ==
    LET ticket == requests[t]
        tried == ticket.tried \cup {ticket.instance}
    IN  /\ MayRetryOn(t, b)
        /\ ~RouteFullBut(t, ticket.route)
        /\ i \in Candidates(t, b, tried)
        /\ requests' = [requests EXCEPT ![t] = Attempting(t, ticket.route, b, tried, ticket.attempts + 1, i)]
        /\ circuit_states' = BegunOn(t, i)
        /\ UNCHANGED <<mirror, queue>>

RetryWait(t, b) ==
    LET ticket == requests[t]
        tried == ticket.tried \cup {ticket.instance}
    IN  /\ MayRetryOn(t, b)
        /\ RouteFullBut(t, ticket.route) \/ Candidates(t, b, tried) = {}
        /\ Cardinality(Queued(ticket.route)) < ticket.route.queue
        /\ requests' = [requests EXCEPT ![t] = Waiting(ticket.route, b, tried, ticket.attempts)]
        /\ circuit_states' = Freed(t)
        /\ queue' = Append(queue, t)
        /\ UNCHANGED mirror

\* No retry could be had: no instance for it, no budget (not modelled), no place in the queue.
Deliver(t) ==
    /\ requests[t].state = "retry_or_deliver"
    /\ requests' = [requests EXCEPT ![t].state = "responding"]
    /\ UNCHANGED <<mirror, circuit_states, queue>>

Ends(t, state) ==
    /\ requests' = [requests EXCEPT ![t] = Blank(state)]
    /\ circuit_states' = Freed(t)
    /\ queue' = Without(t)
    /\ UNCHANGED mirror

RejectFailed(t) == requests[t].state = "retry_or_reject" /\ Ends(t, "rejected")

-----------------------------------------------------------------------------
\* The queue

Dequeue(t, i) ==
    LET ticket == requests[t] IN
    /\ ticket.state = "queued"
    /\ CanGo(t)
    /\ i \in Candidates(t, ticket.backend, ticket.tried)
    /\ requests' =
        [requests EXCEPT ![t] = Attempting(t, ticket.route, ticket.backend, ticket.tried, ticket.attempts + 1, i)]
    /\ circuit_states' = BegunOn(t, i)
    /\ queue' = Without(t)
    /\ UNCHANGED mirror

\* Its pool has emptied: it joins the end of another backend's lane,
Requeue(t, b) ==
    LET ticket == requests[t] IN
    /\ ticket.state = "queued"
    /\ Blocked(ticket.backend)
    /\ ~Blocked(b) /\ MayChoose(ticket.route, b)
    /\ requests' = [requests EXCEPT ![t].backend = b]
    /\ queue' = Append(Without(t), t)
    /\ UNCHANGED <<mirror, circuit_states>>

\* or is rejected where no backend has anything to pick from.
RejectBlocked(t, reason) ==
    LET ticket == requests[t] IN
    /\ ticket.state = "queued"
    /\ Blocked(ticket.backend)
    /\ \E b \in ticket.route.backends : Blocked(b) /\ MayChoose(ticket.route, b) /\ reason = BlockedFor(b)
    /\ Ends(t, "rejected")

\* A ticket that can go is sent in the very step of the code that lets it, so that only one that cannot times out.
RejectLate(t) == requests[t].state = "queued" /\ ~CanGo(t) /\ Ends(t, "rejected")

-----------------------------------------------------------------------------
\* Clients, the shell, timers

Abandon(t) == requests[t].state \in {"queued", "attempting", "responding"} /\ Ends(t, "abandoned")
Refuse(t) == requests[t].state \in {"queued", "attempting"} /\ Ends(t, "rejected")

\* An open time is over.
TriggerCircuitBreaker(i) ==
    /\ i \in Registered
    /\ circuit_states[i].state = "open"
    /\ circuit_states[i].by # "elsewhere"
    /\ circuit_states' = [circuit_states EXCEPT ![i] = Circuit(Transitions["open"].mature)]
    /\ requests' = Spent(i, requests)
    /\ UNCHANGED <<mirror, queue>>

\* A probe without a head in time is judged failed; its attempt goes on and says nothing.
LateProbe(t, circuit) ==
    /\ requests[t].state = "attempting"
    /\ Judge(t, "failed", circuit, [requests[t] EXCEPT !.permit = "spent"])
    /\ UNCHANGED <<mirror, queue>>

-----------------------------------------------------------------------------
\* Several workers, of which this is one. What others made of a circuit is imposed: open, which then is theirs; closed
\* again, or half-open with so many probes passed and from now on this worker's to probe. What is its own it keeps, but
\* that it may be opened: of two workers that open a circuit at once, one has it.

Impose(i, state, passed) ==
    /\ i \in Registered
    /\ state = "open" \/ circuit_states[i].by = "elsewhere"
    /\ circuit_states' =
        [circuit_states EXCEPT ![i] = [Circuit(state) EXCEPT !.passed = IF state = "half_open" THEN passed ELSE 0,
                                                             !.by = IF state = "open" THEN "elsewhere" ELSE "given"]]
    /\ requests' = Spent(i, requests)
    /\ UNCHANGED <<mirror, queue>>

-----------------------------------------------------------------------------
\* Views, routes and policies arrive. Nothing of a ticket changes but that its attempt may say nothing any more.

RegisterService(i, entry) ==
    /\ mirror[i] = Absent
    /\ entry # Absent
    /\ mirror' = [mirror EXCEPT ![i] = entry]
    /\ circuit_states' = [circuit_states EXCEPT ![i] = Circuit("closed")]
    /\ UNCHANGED <<requests, queue>>

DeregisterService(i) ==
    /\ mirror[i] # Absent
    /\ mirror' = [mirror EXCEPT ![i] = Absent]
    /\ circuit_states' = [circuit_states EXCEPT ![i] = Circuit("closed")]
    /\ requests' = Spent(i, requests)
    /\ UNCHANGED queue

UpdateHealth(i, entry) ==
    /\ mirror[i] # Absent
    /\ entry # Absent
    /\ mirror' = [mirror EXCEPT ![i] = entry]
    /\ UNCHANGED <<circuit_states, requests, queue>>

ApplyRoutes(table) == routing_table' = table /\ UNCHANGED <<mirror, policies, circuit_states, requests, queue>>
ApplyPolicies(these) == policies' = these /\ UNCHANGED <<mirror, routing_table, circuit_states, requests, queue>>

-----------------------------------------------------------------------------
\* The model: all of this, in a world that does as it likes

Inside == UNCHANGED <<world, rules>>

Realistic(t, good) ==
    /\ requests[t].state \in Flying
    /\ reality[requests[t].instance] \in (IF good THEN {"any", "well"} ELSE {"any", "failing"})

Effects == {"none", "trip", "probes_passed", "probe_failed", "held"}

\* A request goes by the version that it matched, which an edit may have replaced before the ticket is opened. When each
\* was in force is not kept: any may be opened at any time.
Matched == UNION {{table[name] : name \in Routes} : table \in Tables} \ {NoRoute}

OpenSent(t) ==
    /\ \E r \in Matched : \E b \in r.backends, i \in Instances : RouteRequestSend(t, r, b, i)
    /\ Inside
OpenQueued(t) ==
    /\ \E r \in Matched : \E b \in r.backends : RouteRequestWait(t, r, b)
    /\ Inside
OpenRejected(t) ==
    /\ \E r \in Matched : \E b \in r.backends, reason \in {"no_healthy_instance", "circuit_open", "queue_full"} :
        RouteRequestReject(t, r, b, reason)
    /\ Inside

\* A probe's head is always judged, another one's where its status counts as a failure.
AnswerWell(t) ==
    /\ Realistic(t, TRUE)
    /\ \E circuit \in Effects :
        ProcessHead(t, IF requests[t].permit = "probe" THEN "succeeded" ELSE "none", circuit, "deliver")
    /\ Inside
AnswerBadly(t) ==
    /\ Realistic(t, FALSE)
    /\ \E circuit \in Effects, do \in {"deliver", "again"} : ProcessHead(t, "failed", circuit, do)
    /\ Inside
\* No connection, a reset, or the attempt's time-out, which needs nobody's help.
TimeOut(t) ==
    /\ \E circuit \in Effects, do \in {"reject", "again"} : ProcessFailure(t, "failed", circuit, do)
    /\ Inside
Stale(t) ==
    /\ \E circuit \in Effects, do \in {"reject", "again"} : ProcessFailure(t, "none", circuit, do)
    /\ Inside
Finish(t) ==
    /\ Realistic(t, TRUE)
    /\ \E circuit \in Effects, judged \in {"none", "succeeded"} : ProcessEnd(t, judged, circuit, "done")
    /\ Inside
\* The connection broke, or nothing came for too long, which needs nobody's help.
Cut(t) ==
    /\ \E circuit \in Effects, judged \in {"none", "failed"} : ProcessEnd(t, judged, circuit, "break")
    /\ Inside

RetrySent(t) ==
    /\ requests[t].state \in Deciding
    /\ \E b \in requests[t].route.backends, i \in Instances : RetrySend(t, b, i)
    /\ Inside
RetryQueued(t) ==
    /\ requests[t].state \in Deciding
    /\ \E b \in requests[t].route.backends : RetryWait(t, b)
    /\ Inside
Conclude(t) == (Deliver(t) \/ RejectFailed(t)) /\ Inside

LeaveQueue(t) == (\E i \in Instances : Dequeue(t, i)) /\ Inside
ChangeLane(t) == (\E b \in requests[t].route.backends : Requeue(t, b)) /\ Inside
FindNone(t) == (\E reason \in {"no_healthy_instance", "circuit_open"} : RejectBlocked(t, reason)) /\ Inside
Expire(t) == RejectLate(t) /\ Inside
Leave(t) == Abandon(t) /\ Inside
ProbeIsLate(t) == HoldsProbe(t) /\ (\E circuit \in Effects : LateProbe(t, circuit)) /\ Inside

\* What is delivered is what the catalog holds at that moment.
DeliverNew(i) == RegisterService(i, catalog[i]) /\ Inside
DeliverGone(i) == catalog[i] = Absent /\ DeregisterService(i) /\ Inside
DeliverChanged(i) == catalog[i] # mirror[i] /\ UpdateHealth(i, catalog[i]) /\ Inside
Mature(i) == TriggerCircuitBreaker(i) /\ Inside

\* Not in `Next`: of one worker alone there are no others. `SharedNext` has it.
Share(i) ==
    /\ \E state \in {"open", "half_open", "closed"}, passed \in 0..(Policy(i).half_open_probes - 1) :
        Impose(i, state, passed)
    /\ Inside

EditRoutes == (\E table \in Tables : table # routing_table /\ ApplyRoutes(table)) /\ UNCHANGED world
EditPolicies == (\E these \in PolicySets : these # policies /\ ApplyPolicies(these)) /\ UNCHANGED world

RealityChanges ==
    /\ \E i \in Instances, really \in Realities : really # reality[i] /\ reality' = [reality EXCEPT ![i] = really]
    /\ UNCHANGED <<catalog, mirror, policies, routing_table, circuit_states, requests, queue>>
CatalogChanges ==
    /\ \E i \in Instances, entry \in Entries \cup {Absent} :
        entry # catalog[i] /\ catalog' = [catalog EXCEPT ![i] = entry]
    /\ UNCHANGED <<reality, mirror, policies, routing_table, circuit_states, requests, queue>>

Init ==
    /\ reality \in [Instances -> Realities]
    /\ catalog = [i \in Instances |-> Absent]
    /\ mirror = catalog
    /\ policies \in PolicySets
    /\ routing_table \in Tables
    /\ circuit_states = [i \in Instances |-> Circuit("closed")]
    /\ requests = [t \in Tickets |-> Blank("responded")]
    /\ queue = <<>>

Next ==
    \/ \E t \in Tickets :
        \/ OpenSent(t) \/ OpenQueued(t) \/ OpenRejected(t)
        \/ AnswerWell(t) \/ AnswerBadly(t) \/ TimeOut(t) \/ Stale(t) \/ Finish(t) \/ Cut(t)
        \/ RetrySent(t) \/ RetryQueued(t) \/ Conclude(t)
        \/ LeaveQueue(t) \/ ChangeLane(t) \/ FindNone(t) \/ Expire(t) \/ Leave(t) \/ ProbeIsLate(t)
    \/ \E i \in Instances : DeliverNew(i) \/ DeliverGone(i) \/ DeliverChanged(i) \/ Mature(i)
    \/ EditRoutes \/ EditPolicies \/ RealityChanges \/ CatalogChanges

Spec == Init /\ [][Next]_vars

SharedNext == Next \/ \E i \in Instances : Share(i)

SharedSpec == Init /\ [][SharedNext]_vars
=============================================================================
