-------------------------- MODULE GatewayProperties --------------------------
(* What holds of `GatewayImpl.tla`: safety, deadlock freedom, and what       *)
(* happens in the end under stated fairness. The rules are told again from   *)
(* the state, not by the operators that the actions ask: a property that     *)
(* asked the same ones would be broken together with them, and hold.         *)
EXTENDS GatewayImpl

-----------------------------------------------------------------------------
\* Safety

TypeOK ==
    /\ circuit_states \in [Instances -> [state : {"closed", "open", "half_open"}, failures : 0..FailuresKept,
                                         probes : Nat, passed : Nat, by : {"own", "elsewhere", "given"}]]
    /\ \A t \in Tickets :
        /\ requests[t].state \in Live \cup Ended
        /\ requests[t].instance \in Instances \cup {Nowhere}
        /\ requests[t].permit \in {"ordinary", "probe", "spent"}

\* The versions of routes that operators wrote.
Written == UNION {{table[name] : name \in Routes} : table \in Tables} \ {NoRoute}

Picks(t) == requests'[t].state = "attempting" /\ requests[t].state # "attempting"

\* A ticket is opened by a version of a route that operators wrote, and keeps it until it has ended.
\* A pick takes only an instance that the mirror holds at that moment, so never one whose removal was delivered; for a
\* backend of the ticket's own route, which selects it; that passes or warns with a weight, unless the backend lets a
\* panic pick and has nothing better. A fallback is chosen only where no other backend has anything to pick from that was
\* not tried.
RoutingCorrectness ==
    /\ [][\A t \in Tickets :
            IF requests[t].state \in Live
            THEN requests'[t].state \in Live => requests'[t].route = requests[t].route
            ELSE requests'[t].state \in Live => requests'[t].route \in Written
         ]_vars
    /\ [][\A t \in Tickets : Picks(t) =>
        LET ticket == requests'[t]
            b == ticket.backend
            entry == mirror[ticket.instance]
            better(j) ==
                /\ mirror[j] # Absent /\ ServiceOf[j] = b.service /\ b.selection \in mirror[j].selections
                /\ \/ mirror[j].health = "passing" /\ mirror[j].weighs_passing
                   \/ mirror[j].health = "warning" /\ mirror[j].weighs_warning
        IN  /\ entry # Absent
            /\ b \in ticket.route.backends
            /\ ServiceOf[ticket.instance] = b.service /\ b.selection \in entry.selections
            /\ \/ better(ticket.instance)
               \/ /\ b.panic # "none"
                  /\ ~\E j \in Instances : better(j)
                  /\ entry.weighs_passing /\ Severity[entry.health] <= Severity[b.panic]
         ]_vars
    /\ [][\A t \in Tickets :
        LET ticket == requests'[t]
            chosen == ticket.state \in Live /\ (requests[t].state \in Ended \/ ticket.backend # requests[t].backend)
        IN  chosen /\ ticket.backend.fallback =>
                \A b \in ticket.route.backends : b.fallback \/ Permitted(b) \subseteq ticket.tried
         ]_vars

\* An attempt of ticket t, which still counted, was judged a failure of instance i; or a success. (One whose ticket is
\* rejected with it cannot be told from one that said nothing.)
Failed(t, i) ==
    /\ requests[t].instance = i /\ requests[t].permit = "ordinary"
    /\ \/ /\ requests[t].state = "attempting" /\ requests'[t].state \in Deciding \cup {"responding"}
          /\ requests'[t].permit = "spent"
       \/ requests[t].state = "responding" /\ requests'[t].state = "broken"
Succeeded(t, i) ==
    /\ requests[t].instance = i /\ requests[t].permit = "ordinary"
    /\ requests[t].state = "responding" /\ requests'[t].state = "responded"

\* Where a circuit is enforced, attempts begin only while it is closed, or as probes. Failures in a row are counted, and
\* open it, unless `max_open` forbids another open one; and none opens beyond that share, but for what other workers opened.
CircuitBreakerSafety ==
    [][\A i \in Instances :
        LET p == policies[ServiceOf[i]]
            members == {j \in Instances : mirror[j] # Absent /\ ServiceOf[j] = ServiceOf[i]}
            not_closed == {j \in members : Weighs(mirror[j]) /\ circuit_states[j].state # "closed"}
            allowed == (p.max_open * Cardinality(members)) \div Million
            before == circuit_states[i]
            after == circuit_states'[i]
        IN  /\ p.mode = "enforce" =>
                \A t \in Tickets : Picks(t) /\ requests'[t].instance = i =>
                    before.state = "closed" \/ (before.state = "half_open" /\ requests'[t].permit = "probe")
            /\ before.state = "closed" /\ after.state = "open" /\ after.by # "elsewhere" => Cardinality(not_closed) < allowed
            /\ before.state = "closed" /\ p.mode # "off" => \A t \in Tickets :
                /\ Failed(t, i) =>
                    IF p.consecutive_failures > 0 /\ before.failures + 1 >= p.consecutive_failures
                    THEN after.state = "open" \/ Cardinality(not_closed) >= allowed
                    ELSE after.state = "open" \/ after.failures = Least(before.failures + 1, FailuresKept)
                /\ Succeeded(t, i) => after.failures = 0
      ]_vars

\* Along the four edges only, each with what it asks for; what the mirror takes away or brings anew starts closed. Another
\* worker may have opened it; and where another one has it, closes it here or hands it on, half-open.
ValidCircuitTransitions ==
    [][\A i \in Instances :
        LET before == circuit_states[i].state
            after == circuit_states'[i].state
            by == circuit_states[i].by
            then == circuit_states'[i].by
            judges(permit) ==
                \E t \in Tickets : /\ requests[t].instance = i /\ requests[t].permit = permit
                                   /\ requests[t].state \in {"attempting", "responding"}
                                   /\ requests'[t] # requests[t]
        IN  before # after =>
            \/ mirror'[i] # mirror[i] /\ after = "closed"
            \/ then = "elsewhere" /\ after = "open"
            \/ by = "elsewhere" /\ then = "given"
            \/ before = "closed" /\ after = "open" /\ judges("ordinary")
            \/ before = "open" /\ after = "half_open" /\ by # "elsewhere"
            \/ /\ before = "half_open" /\ after = "closed" /\ judges("probe")
               /\ circuit_states[i].passed + 1 >= policies[ServiceOf[i]].half_open_probes
            \/ before = "half_open" /\ after = "open" /\ judges("probe")
      ]_vars

\* Where another worker has a circuit, it is open here: nothing is picked or probed, and it changes only as others say.
SharedCircuits ==
    /\ [](\A i \in Instances :
            circuit_states[i].by = "elsewhere" => circuit_states[i].state = "open" /\ circuit_states[i].probes = 0)
    /\ [][\A i \in Instances :
            circuit_states[i].by = "elsewhere" =>
                \/ circuit_states'[i].by \in {"elsewhere", "given"}
                \/ mirror'[i] # mirror[i]
         ]_vars
    /\ [][\A t \in Tickets : Picks(t) =>
            LET i == requests'[t].instance IN
            circuit_states[i].by = "elsewhere" =>
                requests'[t].permit = "ordinary" /\ policies[ServiceOf[i]].mode # "enforce"
         ]_vars

\* Places of probes are held by probes in flight, and a probe begins only while fewer are out than allowed.
HalfOpenBounded ==
    /\ [](\A i \in Instances :
            LET out == {t \in Tickets : requests[t].instance = i /\ requests[t].permit = "probe"} IN
            /\ circuit_states[i].probes = Cardinality(out)
            /\ out # {} => circuit_states[i].state = "half_open")
    /\ [][\A t \in Tickets :
            LET i == requests'[t].instance IN
            Picks(t) /\ requests'[t].permit = "probe" =>
                Cardinality({u \in Tickets \ {t} : requests[u].instance = i /\ requests[u].permit = "probe"})
                    < policies[ServiceOf[i]].half_open_probes
         ]_vars

\* Every ticket is in exactly one place, moves only along its way, and ends once.
NoRequestLoss ==
    /\ [](\A t \in Tickets :
            /\ Cardinality({n \in 1..Len(queue) : queue[n] = t}) = (IF requests[t].state = "queued" THEN 1 ELSE 0)
            /\ requests[t].state \in Flying <=> requests[t].instance # Nowhere)
    /\ [][\A t \in Tickets :
            LET before == requests[t].state
                after == requests'[t].state
            IN  before # after =>
                CASE before \in Ended -> after \in {"attempting", "queued", "rejected"}
                  [] before = "queued" -> after \in {"attempting", "rejected", "abandoned"}
                  [] before = "attempting" -> after \in Deciding \cup {"responding", "rejected", "abandoned", "broken"}
                  [] before = "retry_or_deliver" -> after \in {"attempting", "queued", "responding"}
                  [] before = "retry_or_reject" -> after \in {"attempting", "queued", "rejected"}
                  [] before = "responding" -> after \in {"responded", "broken", "abandoned"}
         ]_vars

\* A change of the mirror, of routes or of policies touches no ticket but for what its attempt says of its circuit.
\* The mirror changes by delivery alone, one instance at a time, into what the catalog holds; never by reality.
RegistryConsistency ==
    [][/\ mirror' # mirror =>
            \E i \in Instances :
                /\ mirror'[i] = catalog[i]
                /\ \A j \in Instances \ {i} : mirror'[j] = mirror[j]
                /\ catalog' = catalog
       /\ <<mirror, policies, routing_table>>' # <<mirror, policies, routing_table>> =>
            \A t \in Tickets : [requests'[t] EXCEPT !.permit = "spent"] = [requests[t] EXCEPT !.permit = "spent"]
      ]_vars

ValidServiceStates ==
    \A i \in Instances :
        /\ mirror[i] = Absent \/ mirror[i].health \in {"passing", "warning", "critical", "maintenance"}
        /\ mirror[i] = Absent =>
            /\ circuit_states[i] = Circuit("closed")
            /\ \A t \in Tickets : requests[t].instance = i => requests[t].permit = "spent"

\* A ticket joins only while fewer wait than its version of the route allows.
BoundedQueue ==
    [][\A t \in Tickets :
        LET r == requests'[t].route IN
        requests'[t].state = "queued" /\ requests[t].state # "queued" =>
            Cardinality({u \in Tickets : requests[u].state = "queued" /\ requests[u].route.name = r.name}) < r.queue
      ]_vars

AtMostOnePerInstance ==
    [][\A t \in Tickets :
        LET i == requests'[t].instance IN
        Picks(t) /\ policies[ServiceOf[i]].in_flight_per_instance = 1 =>
            \A u \in Tickets \ {t} : requests[u].instance # i
      ]_vars

\* At most so many requests of a route are out as the ticket's version of it allows.
InFlightBounded ==
    [][\A t \in Tickets :
        LET r == requests'[t].route IN
        Picks(t) /\ r.in_flight > 0 =>
            Cardinality({u \in Tickets \ {t} : requests[u].state \in Flying /\ requests[u].route.name = r.name})
                < r.in_flight
      ]_vars

\* No more attempts than the route allows, and one goes to an instance that was tried only where no other of its
\* backend would be permitted.
RetryElsewhere ==
    [][\A t \in Tickets :
        LET ticket == requests'[t] IN
        Picks(t) =>
            /\ ticket.attempts <= ticket.route.attempts
            /\ ticket.instance \in ticket.tried =>
                ~\E i \in Instances \ ticket.tried :
                    /\ mirror[i] # Absent /\ ServiceOf[i] = ticket.backend.service
                    /\ ticket.backend.selection \in mirror[i].selections
                    /\ \/ mirror[i].health = "passing" /\ mirror[i].weighs_passing
                       \/ mirror[i].health = "warning" /\ mirror[i].weighs_warning
                    /\ LET p == policies[ServiceOf[i]] IN
                       \/ circuit_states[i].state = "closed" \/ p.mode # "enforce"
                       \/ circuit_states[i].state = "half_open" /\ circuit_states[i].probes < p.half_open_probes
      ]_vars

\* In the code one of these follows in the very step that makes it possible, whatever flaps meanwhile.
Wakes(t) == LeaveQueue(t) \/ ChangeLane(t) \/ FindNone(t) \/ Expire(t)

\* Deadlock freedom: a ticket that is not over has a step that needs neither Consul, nor its instance, nor its client.
NoDeadlock ==
    \A t \in Tickets :
        CASE requests[t].state = "queued" -> ENABLED Wakes(t)
          [] requests[t].state = "attempting" -> ENABLED TimeOut(t)
          [] requests[t].state = "responding" -> ENABLED Cut(t)
          [] requests[t].state \in Deciding -> ENABLED Conclude(t)
          [] OTHER -> TRUE

-----------------------------------------------------------------------------
\* Liveness. Of Consul and of instances nothing is asked; of clients only for Recovery.

\* Tickets of the other services get no fairness at all: their instances hang, and not even their time-outs come.
OfFair(t) == requests[t].backend.service \in FairServices

Fairness ==
    /\ \A t \in Tickets : WF_vars(OfFair(t) /\ Conclude(t))
    /\ \A t \in Tickets : WF_vars(OfFair(t) /\ TimeOut(t))
    /\ \A t \in Tickets : WF_vars(OfFair(t) /\ Cut(t))
    /\ \A t \in Tickets : WF_vars(OfFair(t) /\ Wakes(t))
    /\ \A i \in Instances : WF_vars(Mature(i))
    /\ \A i \in Instances : WF_vars(DeliverNew(i) \/ DeliverGone(i) \/ DeliverChanged(i))

FairSpec == Spec /\ Fairness

\* Every ticket ends. A service that hangs keeps none of another service's tickets from it.
Availability == \A t \in Tickets : requests[t].state \in Live /\ OfFair(t) ~> requests[t].state \in Ended

\* A queued ticket that can go does not stay.
Progress == \A t \in Tickets : []<>~(OfFair(t) /\ requests[t].state = "queued" /\ CanGo(t))

\* What the catalog says last, the mirror says in the end.
MirrorConvergence == <>[][catalog' = catalog]_vars => <>[](mirror = catalog)

\* Clients keep coming: asked for Recovery alone.
Demand == \A t \in Tickets : WF_vars(OpenSent(t))

BusySpec == FairSpec /\ Demand

\* All is well: in reality, and as Consul has it.
AllWell == \A i \in Instances : reality[i] \in {"any", "well"} /\ Weighs(catalog[i])

\* And so it stays: no attempt fails or is given up.
Calm ==
    /\ <<reality, catalog>>' = <<reality, catalog>>
    /\ \A t \in Tickets :
        requests[t].state \in Flying => requests'[t].state \in {requests[t].state, "responding", "responded"}
    /\ \A i \in Instances : circuit_states'[i].state = "open" => circuit_states[i].state = "open"

\* Then circuits close, and requests are answered again and again.
Recovery ==
    <>[]AllWell /\ <>[][Calm]_vars =>
        /\ \A i \in Instances : <>[](circuit_states[i].state = "closed")
        /\ []<>(\E t \in Tickets : requests[t].state = "responding")

CircuitBreakerRecovery ==
    \A i \in Instances : circuit_states[i].state = "open" ~> circuit_states[i].state # "open"
=============================================================================
