---------------------------- MODULE GatewayWorlds ----------------------------
(* Small worlds in which `GatewayImpl.tla` is searched: who is there, and    *)
(* what operators and Consul may bring. A configuration picks from here.     *)
EXTENDS GatewayProperties

CONSTANTS WaitingBound  \* tickets that may wait at once, over all routes

Symmetry == Permutations(Instances) \cup Permutations(Tickets)
TicketSymmetry == Permutations(Tickets)

\* How a ticket ended makes no difference to what happens next. For safety searches only.
View ==
    <<reality, catalog, mirror, policies, routing_table, circuit_states, queue,
      [t \in Tickets |-> IF requests[t].state \in Ended THEN Blank("over") ELSE requests[t]]>>

Entry(health) == [health |-> health, weighs_passing |-> TRUE, weighs_warning |-> TRUE, selections |-> {"all"}]
ThreeHealths == {Entry("passing"), Entry("warning"), Entry("critical")}
TwoHealths == {Entry("passing"), Entry("critical")}
Passing == {Entry("passing")}

To(service) == [service |-> service, selection |-> "all", panic |-> "none", fallback |-> FALSE]
RouteTo(name, backends, attempts, in_flight, size) ==
    [name |-> name, version |-> 1, backends |-> backends, attempts |-> attempts, in_flight |-> in_flight, queue |-> size]

CircuitPolicy ==
    [consecutive_failures |-> 1, failure_ratio |-> FALSE, half_open_probes |-> 1, max_open |-> Million,
     mode |-> "enforce", in_flight_per_instance |-> 0]

\* One service, one route.
OneService == [i \in Instances |-> "orders"]
OneRoute == {"r"}
TwoAttempts == {[name \in {"r"} |-> RouteTo("r", {To("orders")}, 2, 0, 1)]}
OneAttempt == {[name \in {"r"} |-> RouteTo("r", {To("orders")}, 1, 0, 1)]}
OneInFlight == {[name \in {"r"} |-> RouteTo("r", {To("orders")}, 2, 1, 1)]}
Panicking == {[name \in {"r"} |-> RouteTo("r", {[To("orders") EXCEPT !.panic = "critical"]}, 1, 0, 1)]}
Enforced == {[service \in {"orders"} |-> CircuitPolicy]}
\* By a share of the window alone, with two probes; and an edit that turns circuits off.
ByRatio ==
    {[service \in {"orders"} |->
        [CircuitPolicy EXCEPT !.consecutive_failures = 0, !.failure_ratio = TRUE, !.half_open_probes = 2, !.mode = mode]]
        : mode \in {"enforce", "off"}}
Capped == {[service \in {"orders"} |-> [CircuitPolicy EXCEPT !.in_flight_per_instance = 1]]}
Unguarded == {[service \in {"orders"} |-> [CircuitPolicy EXCEPT !.mode = "off", !.in_flight_per_instance = 1]]}

\* Two services of one instance each, and a route to each.
TwoServices == [i \in Instances |-> IF i = "a1" THEN "orders" ELSE "stock"]
TwoRoutes == {"r", "s"}
ARouteEach ==
    {[name \in TwoRoutes |-> RouteTo(name, {To(IF name = "r" THEN "orders" ELSE "stock")}, 1, 0, 1)]}
BothCapped == {[service \in {"orders", "stock"} |-> [CircuitPolicy EXCEPT !.in_flight_per_instance = 1]]}
\* One route whose requests go to either, a panic being allowed on the second; and an edit that leaves it the first.
Either == {To("orders"), [To("stock") EXCEPT !.panic = "critical"]}
ASharedRoute == {[name \in {"r"} |-> RouteTo("r", backends, 1, 0, 1)] : backends \in {Either, {To("orders")}}}
\* Either of two services, and the second once more for when neither has anything to pick from.
WithAFallback ==
    {[name \in {"r"} |->
        RouteTo("r", {To("orders"), To("stock"), [To("stock") EXCEPT !.fallback = TRUE]}, 2, 0, 1)]}
\* Half of two circuits may be open; two failures in a row open one.
\* And an edit of the policy, by which circuits only shadow.
HalfMayOpen ==
    {[service \in {"orders"} |->
        [CircuitPolicy EXCEPT !.max_open = Million \div 2, !.consecutive_failures = 2, !.mode = mode]]
        : mode \in {"enforce", "shadow"}}

Backends == UNION {UNION {table[name].backends : name \in Routes} : table \in Tables}

\* Before it is opened a ticket may be of any route.
BackendsOf(t) == IF requests[t].state \in Ended THEN Backends ELSE requests[t].route.backends

Promised ==
    INSTANCE Gateway WITH
        tickets <- [t \in Tickets |->
            CASE requests[t].state = "queued" -> "waiting"
              [] requests[t].state \in Deciding -> "attempting"
              [] OTHER -> requests[t].state],
        at <- [t \in Tickets |-> requests[t].instance],
        allowed <- [t \in Tickets |-> {i \in Instances : \E b \in BackendsOf(t) : i \in Healthy(b) /\ PermitsBut(t, i)}],
        MaxWaiting <- WaitingBound

KeepsItsPromises == Promised!Spec

-----------------------------------------------------------------------------
\* What has to be reached, lest the properties hold of a world in which nothing happens

AllCircuitsOpen == \A i \in Instances : circuit_states[i].state = "open"
QueueFull == \E name \in Routes : Cardinality(Queued(routing_table[name])) = routing_table[name].queue
ProbedInstanceGone ==
    \E t \in Tickets :
        HoldsProbe(t) /\ mirror[requests[t].instance] # Absent /\ mirror'[requests[t].instance] = Absent
PickOnAnOldView == \E t \in Tickets : Picks(t) /\ mirror[requests'[t].instance] # catalog[requests'[t].instance]
RetrySucceedsElsewhere ==
    \E t \in Tickets :
        /\ requests[t].state = "responding" /\ requests'[t].state = "responded"
        /\ requests[t].tried # {} /\ requests[t].instance \notin requests[t].tried
AbandonedInTheQueue == \E t \in Tickets : requests[t].state = "queued" /\ requests'[t].state = "abandoned"
HandedOnIsProbed ==
    \E t \in Tickets :
        Picks(t) /\ requests'[t].permit = "probe" /\ circuit_states[requests'[t].instance].by = "given"
PanicPick == \E t \in Tickets : Picks(t) /\ ~Weighs(mirror[requests'[t].instance])
=============================================================================
