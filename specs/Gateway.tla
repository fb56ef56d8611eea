------------------------------- MODULE Gateway -------------------------------
(* What the gateway promises its clients, with nothing of how it keeps it:   *)
(* every request it accepts is a ticket that ends exactly once; a request is *)
(* only ever sent where the rules permit; what waits is bounded.             *)
(*                                                                           *)
(* `GatewayImpl.tla` refines this module.                                    *)
EXTENDS Integers, FiniteSets, TLC

CONSTANTS
    Tickets,     \* places for tickets: one that has ended may be opened again, for another request
    Instances,
    Nowhere,     \* no instance
    MaxWaiting   \* tickets that may wait at once

VARIABLES
    tickets,     \* of each ticket, what has become of it
    at,          \* of each ticket, the instance that its attempt is on
    allowed      \* of each ticket, the instances that its routes, their health and their circuits let it be sent to

vars == <<tickets, at, allowed>>

Symmetry == Permutations(Tickets) \cup Permutations(Instances)

Ended == {"responded", "rejected", "abandoned", "broken"}
Live == {"waiting", "attempting", "responding"}

Waiting == {t \in Tickets : tickets[t] = "waiting"}

-----------------------------------------------------------------------------
\* The steps of a ticket. With each the world changes as it likes.

Turns == allowed' \in [Tickets -> SUBSET Instances]

Becomes(t, state, place) ==
    /\ tickets' = [tickets EXCEPT ![t] = state]
    /\ at' = [at EXCEPT ![t] = place]
    /\ Turns

\* A ticket is opened, or picked up again after an attempt that may be repeated.
Send(t) ==
    /\ tickets[t] # "responding"
    /\ \E i \in Instances : Becomes(t, "attempting", i) /\ i \in allowed[t]

Wait(t) ==
    /\ tickets[t] \notin {"waiting", "responding"}
    /\ Cardinality(Waiting) < MaxWaiting
    /\ Becomes(t, "waiting", Nowhere)

Reject(t) == tickets[t] # "responding" /\ Becomes(t, "rejected", Nowhere)
Deliver(t) == tickets[t] = "attempting" /\ Becomes(t, "responding", at[t])
Finish(t) == tickets[t] = "responding" /\ Becomes(t, "responded", Nowhere)
Break(t) == tickets[t] \in {"attempting", "responding"} /\ Becomes(t, "broken", Nowhere)
Abandon(t) == tickets[t] \in Live /\ Becomes(t, "abandoned", Nowhere)

World == UNCHANGED <<tickets, at>> /\ Turns

-----------------------------------------------------------------------------

TypeOK ==
    /\ tickets \in [Tickets -> Live \cup Ended]
    /\ at \in [Tickets -> Instances \cup {Nowhere}]
    /\ allowed \in [Tickets -> SUBSET Instances]

\* Before the first request every place is free, which is as good as ended.
Init ==
    /\ tickets = [t \in Tickets |-> "responded"]
    /\ at = [t \in Tickets |-> Nowhere]
    /\ allowed \in [Tickets -> SUBSET Instances]

Next ==
    \/ World
    \/ \E t \in Tickets : Send(t) \/ Wait(t) \/ Reject(t) \/ Deliver(t) \/ Finish(t) \/ Break(t) \/ Abandon(t)

Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------
\* A ticket that has ended stays so until a new request takes its place; one that is answered is not sent again.
NoRequestLoss ==
    [][\A t \in Tickets : tickets'[t] # tickets[t] =>
        /\ tickets[t] \in Live => tickets'[t] \in Live \cup Ended
        /\ tickets[t] = "responding" => tickets'[t] \in {"responded", "broken", "abandoned"}
        /\ tickets'[t] = "responded" => tickets[t] # "waiting"
      ]_vars

RoutingCorrectness ==
    [][\A t \in Tickets : tickets'[t] = "attempting" /\ at'[t] # at[t] => at'[t] \in allowed[t]]_vars

BoundedQueue == Cardinality(Waiting) <= MaxWaiting
=============================================================================
