------------------------------- MODULE Admission -------------------------------
(* Who may go now and who waits, as `core/admission.py` has it and the queue *)
(* of `core/gateway.py`: the in-flight limit of a route, that of an instance *)
(* and the bounded queue with its lanes, one for each backend of a route. In *)
(* their lane fresh tickets go first in, first out; retries go as they can,  *)
(* and are asked first.                                                      *)
(*                                                                           *)
(* A call of the code is one action here, and after it as many as it takes   *)
(* to wake those whom it let go: until no lane is `awake` any more, nothing  *)
(* else happens. Which lanes a call wakes is what the code wakes; that these *)
(* are enough is what `NoNeedlessWait` says.                                 *)
(*                                                                           *)
(* Health and circuits are the environment: an instance is permitted or not, *)
(* and may become so at any moment. A pick may take any instance that the    *)
(* rules allow; of the lanes that are awake any may be asked next (the code  *)
(* begins with the one whose head is oldest). Time is left out: what a timer *)
(* does may happen at any moment while its cause lasts.                      *)
EXTENDS Integers, FiniteSets, Sequences, TLC

CONSTANTS
    Instances,
    Tickets,        \* places for tickets, taken again when they have ended
    Nowhere,        \* no instance
    Backends,       \* what routes send to
    Members,        \* [Backends -> sets of instances]: those that a backend selects
    ServiceOf,      \* [Backends -> services]: two backends may select of one service
    Routes,         \* names of routes
    Tables,         \* bound of the model: routing tables that operators may put in force
    Limits,         \* bound of the model: limits in flight per instance that operators may put in force; 0 is none
    Attempts        \* that a ticket may make

VARIABLES
    permitted,              \* instances whose health and circuit permit a pick, be they busy or not
    routing_table,          \* [Routes -> version of a route]
    in_flight_per_instance, \* of all policies
    requests,               \* [Tickets -> ticket]
    queue,                  \* tickets that wait, in the order in which they joined
    awake                   \* lanes that the call at hand has yet to ask

vars == <<permitted, routing_table, in_flight_per_instance, requests, queue, awake>>
rules == <<permitted, routing_table, in_flight_per_instance>>

\* A version of a route: [name, backends, in_flight, queue]; 0 in flight is no limit. A ticket keeps the one it matched.
NoRoute == [name |-> "", backends |-> {}, in_flight |-> 0, queue |-> 0]

Blank(state) ==
    [state |-> state, route |-> NoRoute, backend |-> "", tried |-> {}, attempts |-> 0, instance |-> Nowhere]

Ended == {"responded", "rejected", "abandoned"}

-----------------------------------------------------------------------------
\* What may be picked

Permitted(b) == permitted \cap Members[b]
Blocked(b) == Permitted(b) = {}

FlyingOnBut(t, i) == Cardinality({u \in Tickets \ {t} : requests[u].instance = i})

\* Permitted and not busy, if ticket t gave back what it holds.
EligibleBut(t, b) ==
    {i \in Permitted(b) : in_flight_per_instance = 0 \/ FlyingOnBut(t, i) < in_flight_per_instance}

\* One that was not tried if there is one; one that was, only where the pool permits no other.
Candidates(t, b, tried) ==
    LET eligible == EligibleBut(t, b)
    IN  IF eligible \ tried # {} THEN eligible \ tried ELSE IF Permitted(b) \subseteq tried THEN eligible ELSE {}

\* A backend in which nothing may be picked gives its share to the others, if there are any others.
MayChoose(r, b) == b \in r.backends /\ (Blocked(b) => \A other \in r.backends : Blocked(other))

-----------------------------------------------------------------------------
\* Who may go, and who waits

RouteFullBut(t, r) ==
    /\ r.in_flight > 0
    /\ Cardinality({u \in Tickets \ {t} : requests[u].state = "attempting" /\ requests[u].route.name = r.name})
        >= r.in_flight

Queued(r) == {t \in Tickets : requests[t].state = "queued" /\ requests[t].route.name = r.name}
HasRoom(r) == Cardinality(Queued(r)) < r.queue

IsFresh(t) == requests[t].tried = {}
Lane(t) == <<requests[t].route.name, requests[t].backend>>

FreshWaits(r, b) == \E t \in Queued(r) : IsFresh(t) /\ requests[t].backend = b

FreshOf(lane) == SelectSeq(queue, LAMBDA u : IsFresh(u) /\ Lane(u) = lane)
RetriesOf(lane) == SelectSeq(queue, LAMBDA u : ~IsFresh(u) /\ Lane(u) = lane)

\* The oldest of the fresh tickets in their lane; a retry goes as it can.
MayLeave(t) == IsFresh(t) => FreshOf(Lane(t))[1] = t

CanGo(t) ==
    /\ MayLeave(t)
    /\ ~RouteFullBut(t, requests[t].route)
    /\ Candidates(t, requests[t].backend, requests[t].tried) # {}

\* Those who can go in a lane, in the order in which they are asked: retries, then the first of the fresh ones.
Going(lane) == SelectSeq(RetriesOf(lane) \o FreshOf(lane), CanGo)

\* The one who is told first that its pool has emptied.
HeadOf(lane) == (RetriesOf(lane) \o FreshOf(lane))[1]

Without(t) == SelectSeq(queue, LAMBDA u : u # t)

LanesOf(these) == {<<these[t].route.name, these[t].backend>> : t \in {u \in Tickets : these[u].state = "queued"}}

\* Those that wait for this service, and those that wait for a place of this route.
Wake(service, route) ==
    awake' = {lane \in LanesOf(requests') : ServiceOf[lane[2]] = service \/ lane[1] = route}

WakeBehind(t) == Wake(ServiceOf[requests[t].backend], requests[t].route.name)

\* No call is at hand.
Quiet == awake = {}

-----------------------------------------------------------------------------
\* A ticket is opened: the decision of `route_request`

Opens(t, r, b) == Quiet /\ requests[t].state \in Ended /\ MayChoose(r, b)

Attempting(r, b, tried, attempts, i) ==
    [state |-> "attempting", route |-> r, backend |-> b, tried |-> tried, attempts |-> attempts, instance |-> i]

Waiting(r, b, tried, attempts) ==
    [Blank("queued") EXCEPT !.route = r, !.backend = b, !.tried = tried, !.attempts = attempts]

GoesAtOnce(t, r, b) == ~FreshWaits(r, b) /\ ~RouteFullBut(t, r) /\ Candidates(t, b, {}) # {}

RouteRequestSend(t, r, b, i) ==
    /\ Opens(t, r, b)
    /\ ~Blocked(b)
    /\ GoesAtOnce(t, r, b)
    /\ i \in Candidates(t, b, {})
    /\ requests' = [requests EXCEPT ![t] = Attempting(r, b, {}, 1, i)]
    /\ UNCHANGED <<rules, queue, awake>>

RouteRequestWait(t, r, b) ==
    /\ Opens(t, r, b)
    /\ ~Blocked(b)
    /\ ~GoesAtOnce(t, r, b)
    /\ HasRoom(r)
    /\ requests' = [requests EXCEPT ![t] = Waiting(r, b, {}, 0)]
    /\ queue' = Append(queue, t)
    /\ UNCHANGED <<rules, awake>>

RouteRequestReject(t, r, b) ==
    /\ Opens(t, r, b)
    /\ Blocked(b) \/ (~GoesAtOnce(t, r, b) /\ ~HasRoom(r))
    /\ requests' = [requests EXCEPT ![t] = Blank("rejected")]
    /\ UNCHANGED <<rules, queue, awake>>

-----------------------------------------------------------------------------
\* An attempt fails and is tried again, with the place that it held given back first; or it ends. A retry may be
\* refused for reasons that are not modelled (its budget, its body), so that any attempt may end instead.

Offers(b, tried) == ~(Permitted(b) \subseteq tried)

MayRetryOn(t, b) ==
    LET ticket == requests[t]
        tried == ticket.tried \cup {ticket.instance}
    IN  /\ Quiet
        /\ ticket.state = "attempting"
        /\ ticket.attempts < Attempts
        /\ ~Blocked(b)
        /\ IF Offers(ticket.backend, tried) THEN b = ticket.backend
           ELSE IF \E other \in ticket.route.backends : Offers(other, tried)
                THEN b \in ticket.route.backends /\ Offers(b, tried)
           ELSE IF ~Blocked(ticket.backend) THEN b = ticket.backend
           ELSE MayChoose(ticket.route, b)

RetrySend(t, b, i) ==
    LET ticket == requests[t]
        tried == ticket.tried \cup {ticket.instance}
    IN  /\ MayRetryOn(t, b)
        /\ ~RouteFullBut(t, ticket.route)
        /\ i \in Candidates(t, b, tried)
        /\ requests' = [requests EXCEPT ![t] = Attempting(ticket.route, b, tried, ticket.attempts + 1, i)]
        /\ WakeBehind(t)
        /\ UNCHANGED <<rules, queue>>

RetryWait(t, b) ==
    LET ticket == requests[t]
        tried == ticket.tried \cup {ticket.instance}
    IN  /\ MayRetryOn(t, b)
        /\ RouteFullBut(t, ticket.route) \/ Candidates(t, b, tried) = {}
        /\ HasRoom(ticket.route)
        /\ requests' = [requests EXCEPT ![t] = Waiting(ticket.route, b, tried, ticket.attempts)]
        /\ queue' = Append(queue, t)
        /\ WakeBehind(t)
        /\ UNCHANGED rules

Ends(t, state) ==
    /\ requests' = [requests EXCEPT ![t] = Blank(state)]
    /\ queue' = Without(t)
    /\ UNCHANGED rules

Finish(t) == Quiet /\ requests[t].state = "attempting" /\ Ends(t, "responded") /\ WakeBehind(t)

\* It failed, or its time is over, which needs nobody's help.
TimeOut(t) == Quiet /\ requests[t].state = "attempting" /\ Ends(t, "rejected") /\ WakeBehind(t)

Abandon(t) == Quiet /\ requests[t].state \in {"queued", "attempting"} /\ Ends(t, "abandoned") /\ WakeBehind(t)

RejectLate(t) == Quiet /\ requests[t].state = "queued" /\ Ends(t, "rejected") /\ WakeBehind(t)

-----------------------------------------------------------------------------
\* Those who wait are woken: each lane that is awake is asked until it has nobody left who can go.

StillAwake == awake' = awake \cap LanesOf(requests')

Dequeue(t, i) ==
    LET ticket == requests[t] IN
    /\ ticket.state = "queued"
    /\ Lane(t) \in awake
    /\ ~Blocked(ticket.backend)
    /\ Going(Lane(t)) # <<>>
    /\ t = Going(Lane(t))[1]
    /\ i \in Candidates(t, ticket.backend, ticket.tried)
    /\ requests' =
        [requests EXCEPT ![t] = Attempting(ticket.route, ticket.backend, ticket.tried, ticket.attempts + 1, i)]
    /\ queue' = Without(t)
    /\ StillAwake
    /\ UNCHANGED rules

Turned(t) ==
    /\ requests[t].state = "queued"
    /\ Lane(t) \in awake
    /\ Blocked(requests[t].backend)
    /\ t = HeadOf(Lane(t))

GoesElsewhere(t, b) ==
    /\ IsFresh(t) => ~FreshWaits(requests[t].route, b)
    /\ ~RouteFullBut(t, requests[t].route)
    /\ Candidates(t, b, requests[t].tried) # {}

\* Its pool has emptied: it joins the end of another backend's lane, where it goes at once if it can,
RequeueWait(t, b) ==
    /\ Turned(t)
    /\ ~Blocked(b) /\ MayChoose(requests[t].route, b)
    /\ ~GoesElsewhere(t, b)
    /\ requests' = [requests EXCEPT ![t].backend = b]
    /\ queue' = Append(Without(t), t)
    /\ StillAwake
    /\ UNCHANGED rules

RequeueSend(t, b, i) ==
    LET ticket == requests[t] IN
    /\ Turned(t)
    /\ ~Blocked(b) /\ MayChoose(ticket.route, b)
    /\ GoesElsewhere(t, b)
    /\ i \in Candidates(t, b, ticket.tried)
    /\ requests' = [requests EXCEPT ![t] = Attempting(ticket.route, b, ticket.tried, ticket.attempts + 1, i)]
    /\ queue' = Without(t)
    /\ StillAwake
    /\ UNCHANGED rules

\* or is rejected where no backend has anything to pick from.
RejectBlocked(t) ==
    /\ Turned(t)
    /\ \A b \in requests[t].route.backends : Blocked(b)
    /\ Ends(t, "rejected")
    /\ StillAwake

\* All in this lane have to wait: it is not asked again.
Rest(lane) ==
    /\ lane \in awake
    /\ ~Blocked(lane[2])
    /\ Going(lane) = <<>>
    /\ awake' = awake \ {lane}
    /\ UNCHANGED <<rules, requests, queue>>

-----------------------------------------------------------------------------
\* The world changes, and with it who may go; routes change for those who come.

WakeServices(services) == awake' = {lane \in LanesOf(requests) : ServiceOf[lane[2]] \in services}

ServicesOf(i) == {ServiceOf[b] : b \in {each \in Backends : i \in Members[each]}}

BecomePermitted(i) ==
    /\ Quiet
    /\ i \notin permitted
    /\ permitted' = permitted \cup {i}
    /\ WakeServices(ServicesOf(i))
    /\ UNCHANGED <<routing_table, in_flight_per_instance, requests, queue>>

BecomeForbidden(i) ==
    /\ Quiet
    /\ i \in permitted
    /\ permitted' = permitted \ {i}
    /\ WakeServices(ServicesOf(i))
    /\ UNCHANGED <<routing_table, in_flight_per_instance, requests, queue>>

\* All policies at once; the code puts them in force, and wakes, service by service.
ApplyPolicies(limit) ==
    /\ Quiet
    /\ limit # in_flight_per_instance
    /\ in_flight_per_instance' = limit
    /\ WakeServices({ServiceOf[b] : b \in Backends})
    /\ UNCHANGED <<permitted, routing_table, requests, queue>>

ApplyRoutes(table) ==
    /\ Quiet
    /\ table # routing_table
    /\ routing_table' = table
    /\ UNCHANGED <<permitted, in_flight_per_instance, requests, queue, awake>>

-----------------------------------------------------------------------------

Open(t) ==
    \E name \in Routes, b \in Backends :
        \/ \E i \in Instances : RouteRequestSend(t, routing_table[name], b, i)
        \/ RouteRequestWait(t, routing_table[name], b)
        \/ RouteRequestReject(t, routing_table[name], b)

Retry(t) == \E b \in Backends : RetryWait(t, b) \/ \E i \in Instances : RetrySend(t, b, i)

\* What the gateway does of itself, until the call at hand is over.
Waken ==
    \/ \E t \in Tickets :
        \/ \E i \in Instances : Dequeue(t, i)
        \/ \E b \in Backends : RequeueWait(t, b) \/ \E i \in Instances : RequeueSend(t, b, i)
        \/ RejectBlocked(t)
    \/ \E lane \in Routes \X Backends : Rest(lane)

Init ==
    /\ permitted = {}
    /\ routing_table \in Tables
    /\ in_flight_per_instance \in Limits
    /\ requests = [t \in Tickets |-> Blank("responded")]
    /\ queue = <<>>
    /\ awake = {}

Next ==
    \/ \E t \in Tickets : Open(t) \/ Retry(t) \/ Finish(t) \/ TimeOut(t) \/ Abandon(t) \/ RejectLate(t)
    \/ \E i \in Instances : BecomePermitted(i) \/ BecomeForbidden(i)
    \/ \E limit \in Limits : ApplyPolicies(limit)
    \/ \E table \in Tables : ApplyRoutes(table)
    \/ Waken

Spec == Init /\ [][Next]_vars

\* Of the gateway's own steps and time-outs alone. A time-out waits until the call at hand is over, so that it is not
\* enabled all the time; it comes if only calls end again and again.
Fairness ==
    /\ WF_vars(Waken)
    /\ \A t \in Tickets : SF_vars(TimeOut(t))
    /\ \A t \in Tickets : SF_vars(RejectLate(t))

FairSpec == Spec /\ Fairness

-----------------------------------------------------------------------------
\* Safety. The rules are told again from the state, not by the operators that the actions ask.

TypeOK ==
    /\ permitted \subseteq Instances
    /\ awake \subseteq Routes \X Backends
    /\ \A t \in Tickets :
        /\ requests[t].state \in {"queued", "attempting"} \cup Ended
        /\ requests[t].instance \in Instances \cup {Nowhere}
        /\ requests[t].tried \subseteq Instances
        /\ requests[t].attempts \in 0..Attempts

Picks(t) ==
    /\ requests'[t].state = "attempting"
    /\ requests[t].state = "attempting" => requests'[t].attempts > requests[t].attempts

PositionOf(t) == CHOOSE n \in 1..Len(queue) : queue[n] = t

\* A ticket joins only while fewer wait than its version of the route allows.
BoundedQueue ==
    [][\A t \in Tickets :
        LET r == requests'[t].route IN
        requests'[t].state = "queued" /\ requests[t].state # "queued" =>
            Cardinality({u \in Tickets : requests[u].state = "queued" /\ requests[u].route.name = r.name}) < r.queue
      ]_vars

\* An attempt begins only while fewer others of its route are in flight than its version of the route allows;
InFlightBounded ==
    [][\A t \in Tickets :
        LET r == requests'[t].route
            others == {u \in Tickets \ {t} : requests'[u].instance # Nowhere /\ requests'[u].route.name = r.name}
        IN  Picks(t) /\ r.in_flight > 0 => Cardinality(others) < r.in_flight
      ]_vars

\* and only on an instance that has room by the limit of that moment: with a limit of 1, on one that has nothing.
AtMostOnePerInstance ==
    [][\A t \in Tickets :
        LET others == {u \in Tickets \ {t} : requests'[u].instance = requests'[t].instance} IN
        Picks(t) /\ in_flight_per_instance > 0 => Cardinality(others) < in_flight_per_instance
      ]_vars

\* A pick takes what is permitted, of a backend of the ticket's own route. A retry goes to an instance that was tried
\* only where its backend is permitted no other.
RetryElsewhere ==
    [][\A t \in Tickets :
        LET ticket == requests'[t] IN
        Picks(t) =>
            /\ ticket.backend \in ticket.route.backends
            /\ ticket.instance \in permitted \cap Members[ticket.backend]
            /\ ticket.instance \in ticket.tried => permitted \cap Members[ticket.backend] \subseteq ticket.tried
      ]_vars

\* Every ticket is in exactly one place, and moves only along its way.
NoRequestLoss ==
    /\ [](\A t \in Tickets :
            /\ Cardinality({n \in 1..Len(queue) : queue[n] = t}) = (IF requests[t].state = "queued" THEN 1 ELSE 0)
            /\ requests[t].state = "attempting" <=> requests[t].instance # Nowhere)
    /\ [][\A t \in Tickets :
            LET before == requests[t].state
                after == requests'[t].state
            IN  before # after =>
                CASE before \in Ended -> after \in {"attempting", "queued", "rejected"}
                  [] before = "queued" -> after \in {"attempting", "rejected", "abandoned"}
                  [] before = "attempting" -> after \in Ended \cup {"queued"}
         ]_vars

\* No fresh ticket goes while another one waits in its lane, but the one that joined first.
FirstInFirstOut ==
    [][\A t, u \in Tickets :
        LET ticket == requests'[t] IN
        /\ Picks(t) /\ ticket.tried = {}
        /\ t # u /\ requests[u].state = "queued" /\ requests[u].tried = {}
        /\ requests[u].route.name = ticket.route.name /\ requests[u].backend = ticket.backend
        =>  /\ requests[t].state = "queued" /\ requests[t].backend = ticket.backend
            /\ PositionOf(t) < PositionOf(u)
      ]_vars

\* Whether ticket t, which waits, has an instance that it could take.
FindsRoom(t) ==
    LET ticket == requests[t]
        members == permitted \cap Members[ticket.backend]
        flying == {u \in Tickets : requests[u].state = "attempting"}
        idle == {i \in members :
            \/ in_flight_per_instance = 0
            \/ Cardinality({u \in flying : requests[u].instance = i}) < in_flight_per_instance}
    IN  /\ \/ ticket.route.in_flight = 0
           \/ Cardinality({u \in flying : requests[u].route.name = ticket.route.name}) < ticket.route.in_flight
        /\ \/ \E i \in idle : i \notin ticket.tried
           \/ idle # {} /\ \A i \in members : i \in ticket.tried

SameLane(t, u) ==
    requests[t].route.name = requests[u].route.name /\ requests[t].backend = requests[u].backend

\* Of those who wait in a lane, retries go before fresh tickets, and before retries that joined later, if they can.
RetriesFirst ==
    [][\A t, u \in Tickets :
        /\ Picks(t) /\ requests[t].state = "queued" /\ requests'[t].backend = requests[t].backend
        /\ t # u /\ requests[u].state = "queued" /\ requests[u].tried # {} /\ SameLane(t, u)
        /\ requests[t].tried = {} \/ PositionOf(u) < PositionOf(t)
        => ~FindsRoom(u)
      ]_vars

\* Whether it could go at this moment: it finds room, and is not behind another fresh one in its lane.
CouldGo(t) ==
    /\ requests[t].state = "queued"
    /\ FindsRoom(t)
    /\ requests[t].tried = {} =>
        ~\E u \in Tickets \ {t} :
            /\ requests[u].state = "queued" /\ requests[u].tried = {} /\ SameLane(t, u)
            /\ PositionOf(u) < PositionOf(t)

\* When a call is over nobody waits who could go, and nobody for a backend in which nothing may be picked.
NoNeedlessWait ==
    awake = {} =>
        \A t \in Tickets : requests[t].state = "queued" =>
            /\ permitted \cap Members[requests[t].backend] # {}
            /\ ~CouldGo(t)

\* Deadlock freedom: a call comes to its end, and a ticket that is not over has a step that needs nobody's help.
NoDeadlock ==
    /\ awake # {} => ENABLED Waken
    /\ \A t \in Tickets :
        awake = {} =>
            CASE requests[t].state = "queued" -> ENABLED RejectLate(t)
              [] requests[t].state = "attempting" -> ENABLED TimeOut(t)
              [] OTHER -> TRUE

-----------------------------------------------------------------------------
\* Liveness, under Fairness

\* Every ticket ends, though no instance ever answers.
Availability == \A t \in Tickets : requests[t].state \in {"queued", "attempting"} ~> requests[t].state \in Ended

\* A call comes to its end, so that others may come; and a ticket that could go does not stay.
Progress ==
    /\ []<>(awake = {})
    /\ \A t \in Tickets : []<>~CouldGo(t)
=============================================================================
