---------------------------- MODULE AdmissionWorlds ----------------------------
(* Small worlds in which `Admission.tla` is searched. A configuration picks  *)
(* from here.                                                                *)
EXTENDS Admission

CONSTANTS
    Both,   \* instances that both backends select
    OnlyA,  \* that the first one alone selects
    OnlyB   \* and the second one alone

Symmetry == Permutations(Tickets) \cup Permutations(Both) \cup Permutations(OnlyA) \cup Permutations(OnlyB)

\* How a ticket ended makes no difference to what happens next. For safety searches only.
View ==
    <<rules, queue, awake, [t \in Tickets |-> IF requests[t].state \in Ended THEN Blank("over") ELSE requests[t]]>>

AllInstances == Both \cup OnlyA \cup OnlyB
TwoBackends == {"a", "b"}
ByBackend == [b \in TwoBackends |-> Both \cup (IF b = "a" THEN OnlyA ELSE OnlyB)]
OwnServices == [b \in TwoBackends |-> b]
OneService == [b \in TwoBackends |-> "orders"]

RouteTo(name, backends, in_flight, size) ==
    [name |-> name, backends |-> backends, in_flight |-> in_flight, queue |-> size]

\* One route to both backends, with less in flight than there is room for.
OneRoute == {"r"}
ALimitedRoute == {[name \in OneRoute |-> RouteTo("r", TwoBackends, 2, 2)]}

\* Two routes that share a backend.
TwoRoutes == {"r", "s"}
SharingRoutes ==
    {[name \in TwoRoutes |-> IF name = "r" THEN RouteTo("r", {"a"}, 1, 1) ELSE RouteTo("s", TwoBackends, 0, 1)]}

\* One route to both backends, whose limits are edited.
AnEditedRoute ==
    {[name \in OneRoute |-> RouteTo("r", TwoBackends, 1, 1)], [name \in OneRoute |-> RouteTo("r", TwoBackends, 2, 2)]}

-----------------------------------------------------------------------------
\* What has to be reached, lest the properties hold of a world in which nothing happens

QueueFull == \E name \in Routes : Cardinality(Queued(routing_table[name])) = routing_table[name].queue
AbandonedInTheQueue == \E t \in Tickets : requests[t].state = "queued" /\ requests'[t].state = "abandoned"

\* A fresh ticket goes although a retry waits in its lane.
RetryPassed ==
    \E t, u \in Tickets :
        /\ Picks(t) /\ requests'[t].tried = {}
        /\ requests[u].state = "queued" /\ requests[u].tried # {}
        /\ requests[u].route.name = requests'[t].route.name /\ requests[u].backend = requests'[t].backend

\* A ticket is let go in one lane of a route while the head of another one, which came first, goes on waiting.
LaneStandsWhileAnotherMoves ==
    \E t, u \in Tickets :
        /\ Picks(t) /\ requests[t].state = "queued" /\ requests'[t].backend = requests[t].backend
        /\ requests'[u].state = "queued" /\ requests[u] = requests'[u] /\ requests[u].tried = {}
        /\ requests[u].route = requests[t].route /\ requests[u].backend # requests[t].backend
        /\ PositionOf(u) < PositionOf(t)
        /\ awake' = {}
=============================================================================
