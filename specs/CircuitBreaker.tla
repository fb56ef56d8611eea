--------------------------- MODULE CircuitBreaker ---------------------------
(* The circuits of one service's instances, as `core/breaker.py` and         *)
(* `core/services.py` run them. One action is one step of the code; the      *)
(* actions that make a transition carry the names of the circuit's events    *)
(* (`LateProbe` is a `probe_failed` that a timer calls for).                 *)
(*                                                                           *)
(* Requests, health and balancing are the environment: an attempt may begin  *)
(* on any instance whose circuit permits it, may be answered well or badly   *)
(* at any time, or never. Time is left out: what a timer does may happen at  *)
(* any moment while its cause lasts.                                         *)
EXTENDS Integers, FiniteSets, TLC

CONSTANTS
    Instances,
    ConsecutiveFailures,  \* failures in a row that trip
    HalfOpenProbes,       \* probes at once, and successes in a row that close
    MaxOpen,              \* circuits that may be open or half-open at once
    Mode,                 \* "enforce" or "shadow"
    MaxInFlight,          \* bound of the model: ordinary attempts at once on an instance
    MaxPast               \* bound of the model: attempts of past epochs remembered at once, in the service

VARIABLES
    circuit_states,
    consecutive_failures,
    probes,
    probes_passed,
    attempts  \* those in flight that may still be judged: how many with each permit

vars == <<circuit_states, consecutive_failures, probes, probes_passed, attempts>>

\* An attempt carries the epoch in which it began. The code numbers epochs and only ever asks whether an attempt's is
\* the circuit's own, so "present" and "past" are enough.
Permit == [epoch : {"present", "past"}, probe : BOOLEAN]
Ordinary == [epoch |-> "present", probe |-> FALSE]
Probe == [epoch |-> "present", probe |-> TRUE]
PastOrdinary == [epoch |-> "past", probe |-> FALSE]
PastProbe == [epoch |-> "past", probe |-> TRUE]

Transitions ==
    [closed    |-> [trip |-> "open"],
     open      |-> [mature |-> "half_open"],
     half_open |-> [probes_passed |-> "closed", probe_failed |-> "open"]]

Min(a, b) == IF a < b THEN a ELSE b
Total(flight) == flight[Ordinary] + flight[Probe] + flight[PastOrdinary] + flight[PastProbe]
NotClosed == Cardinality({i \in Instances : circuit_states[i] # "closed"})

MayOpenAnother == NotClosed < MaxOpen
WantsProbe(i) == circuit_states[i] = "half_open" /\ probes[i] < HalfOpenProbes
Permits(i) == circuit_states[i] = "closed" \/ Mode # "enforce" \/ WantsProbe(i)

-----------------------------------------------------------------------------
\* The transitions

Past == {<<i, permit, n>> \in Instances \X {PastOrdinary, PastProbe} \X (1..MaxPast) : n <= attempts[i][permit]}

\* A new epoch begins. What is past by now changes nothing any more, so what exceeds the bound is forgotten.
Aged(flight) ==
    LET room == MaxPast - Cardinality(Past)
        past_probes == Min(room, flight[Probe])
        past_ordinary == Min(room - past_probes, flight[Ordinary])
    IN  [flight EXCEPT ![Ordinary] = 0, ![Probe] = 0,
                       ![PastOrdinary] = @ + past_ordinary, ![PastProbe] = @ + past_probes]

\* `Circuit.apply`, with what remains in flight. Nothing reads the failures of a circuit that is not closed, so they
\* rest at 0 here.
Apply(i, event, flight) ==
    /\ circuit_states' = [circuit_states EXCEPT ![i] = Transitions[@][event]]
    /\ consecutive_failures' = [consecutive_failures EXCEPT ![i] = 0]
    /\ probes' = [probes EXCEPT ![i] = 0]
    /\ probes_passed' = [probes_passed EXCEPT ![i] = 0]
    /\ attempts' = [attempts EXCEPT ![i] = flight]

Without(i, permit) == [attempts[i] EXCEPT ![permit] = @ - 1]

\* An ordinary attempt failed, by its head or later.
Fails(i) == circuit_states[i] = "closed" /\ attempts[i][Ordinary] > 0

\* The rule for failures in a row calls for it, or the rule for a share of the window, which may at any failure: the
\* window is not modelled.
Trip(i) == Fails(i) /\ MayOpenAnother /\ Apply(i, "trip", Aged(Without(i, Ordinary)))

Mature(i) == circuit_states[i] = "open" /\ Apply(i, "mature", Aged(attempts[i]))

\* A probe is judged at its head. Its body may still be cut short: it goes on as an ordinary attempt of the epoch that
\* its head led into, or is over.
ProbesPassed(i) ==
    /\ attempts[i][Probe] > 0
    /\ probes_passed[i] + 1 >= HalfOpenProbes
    /\ \E streams \in {0, 1} :
        Apply(i, "probes_passed", [Aged(Without(i, Probe)) EXCEPT ![Ordinary] = streams])

ProbeFailed(i) == attempts[i][Probe] > 0 /\ Apply(i, "probe_failed", Aged(Without(i, Probe)))

\* No head came within `open_for`: judged failed. What the attempt does later says nothing.
LateProbe(i) == attempts[i][Probe] > 0 /\ Apply(i, "probe_failed", Aged(Without(i, Probe)))

-----------------------------------------------------------------------------
\* The steps that leave every circuit in its state

Begin(i) ==
    LET permit == IF WantsProbe(i) THEN Probe ELSE Ordinary IN
    /\ Permits(i)
    /\ permit = Ordinary => attempts[i][Ordinary] < MaxInFlight
    /\ attempts' = [attempts EXCEPT ![i][permit] = @ + 1]
    /\ probes' = [probes EXCEPT ![i] = @ + (IF permit = Probe THEN 1 ELSE 0)]
    /\ UNCHANGED <<circuit_states, consecutive_failures, probes_passed>>

\* An ordinary attempt ended well, or is a tunnel that was opened and goes on.
Succeed(i) ==
    /\ attempts[i][Ordinary] > 0
    /\ \E flight \in {attempts[i], Without(i, Ordinary)} : attempts' = [attempts EXCEPT ![i] = flight]
    /\ consecutive_failures' = [consecutive_failures EXCEPT ![i] = 0]
    /\ UNCHANGED <<circuit_states, probes, probes_passed>>

\* A probe passed, and more are wanted.
PassProbe(i) ==
    /\ attempts[i][Probe] > 0
    /\ probes_passed[i] + 1 < HalfOpenProbes
    /\ \E streams \in {0, 1} :
        attempts' = [attempts EXCEPT ![i] = [Without(i, Probe) EXCEPT ![Ordinary] = Min(@ + streams, MaxInFlight)]]
    /\ probes' = [probes EXCEPT ![i] = @ - 1]
    /\ probes_passed' = [probes_passed EXCEPT ![i] = @ + 1]
    /\ UNCHANGED <<circuit_states, consecutive_failures>>

\* Too few failures in a row as yet.
Fail(i) ==
    /\ Fails(i)
    /\ consecutive_failures[i] + 1 < ConsecutiveFailures
    /\ consecutive_failures' = [consecutive_failures EXCEPT ![i] = @ + 1]
    /\ attempts' = [attempts EXCEPT ![i] = Without(i, Ordinary)]
    /\ UNCHANGED <<circuit_states, probes, probes_passed>>

\* A trip that `max_open` forbids: the circuit stays closed, its failures go on counting (here up to the rule's figure).
HoldTrip(i) ==
    /\ Fails(i)
    /\ ~MayOpenAnother
    /\ consecutive_failures' = [consecutive_failures EXCEPT ![i] = Min(@ + 1, ConsecutiveFailures)]
    /\ attempts' = [attempts EXCEPT ![i] = Without(i, Ordinary)]
    /\ UNCHANGED <<circuit_states, probes, probes_passed>>

\* A result that says nothing about the present: of a past epoch, or an ordinary failure while not closed.
Drop(i) ==
    /\ \E permit \in {PastOrdinary, PastProbe} \cup (IF circuit_states[i] = "closed" THEN {} ELSE {Ordinary}) :
        /\ attempts[i][permit] > 0
        /\ attempts' = [attempts EXCEPT ![i] = Without(i, permit)]
    /\ UNCHANGED <<circuit_states, consecutive_failures, probes, probes_passed>>

\* Ended without being judged (its client left, or a stale connection): a probe frees its place.
Cancel(i) ==
    \E permit \in Permit :
        /\ attempts[i][permit] > 0
        /\ attempts' = [attempts EXCEPT ![i] = Without(i, permit)]
        /\ probes' = [probes EXCEPT ![i] = @ - (IF permit = Probe THEN 1 ELSE 0)]
        /\ UNCHANGED <<circuit_states, consecutive_failures, probes_passed>>

-----------------------------------------------------------------------------

Init ==
    /\ circuit_states = [i \in Instances |-> "closed"]
    /\ consecutive_failures = [i \in Instances |-> 0]
    /\ probes = [i \in Instances |-> 0]
    /\ probes_passed = [i \in Instances |-> 0]
    /\ attempts = [i \in Instances |-> [permit \in Permit |-> 0]]

Next ==
    \E i \in Instances :
        \/ Trip(i) \/ Mature(i) \/ ProbesPassed(i) \/ ProbeFailed(i) \/ LateProbe(i)
        \/ Begin(i) \/ Succeed(i) \/ PassProbe(i) \/ Fail(i) \/ HoldTrip(i) \/ Drop(i) \/ Cancel(i)

Spec == Init /\ [][Next]_vars

\* Of the gateway's own timers, and of requests: they keep coming to each instance that may be picked. Nothing is asked
\* of the instances: an attempt may stay unanswered for ever.
Fairness ==
    \A i \in Instances :
        /\ WF_vars(Mature(i))
        /\ WF_vars(LateProbe(i))
        /\ WF_vars(Begin(i))

FairSpec == Spec /\ Fairness

Symmetry == Permutations(Instances)

-----------------------------------------------------------------------------
\* Safety. The properties speak of states and steps, not of the actions' definitions; but that an attempt which ends was
\* judged, and how, no state tells.

TypeOK ==
    /\ circuit_states \in [Instances -> {"closed", "open", "half_open"}]
    /\ consecutive_failures \in [Instances -> 0..ConsecutiveFailures]
    /\ probes \in [Instances -> 0..HalfOpenProbes]
    /\ probes_passed \in [Instances -> 0..HalfOpenProbes - 1]
    /\ attempts \in [Instances -> [Permit -> 0..MaxInFlight + HalfOpenProbes + MaxPast]]
    /\ Cardinality(Past) <= MaxPast

\* A circuit changes its state only along the four edges, each for its cause, which is never an attempt of a past epoch.
\* A new epoch begins with it: nothing in flight is of the present, but the body of the probe that closed the circuit.
ValidCircuitTransitions ==
    [][\A i \in Instances :
        LET before == circuit_states[i]
            after == circuit_states'[i]
            probe_out == attempts[i][Probe] > 0
        IN  before # after =>
            /\ \/ before = "closed" /\ after = "open" /\ attempts[i][Ordinary] > 0
               \/ before = "open" /\ after = "half_open"
               \/ before = "half_open" /\ after = "closed" /\ probe_out /\ probes_passed[i] + 1 = HalfOpenProbes
               \/ before = "half_open" /\ after = "open" /\ probe_out
            /\ attempts'[i][Probe] = 0
            /\ attempts'[i][Ordinary] <= (IF after = "closed" THEN 1 ELSE 0)
      ]_vars

\* The probes that hold a place are those in flight and not judged, and there are at most as many as allowed.
HalfOpenBounded ==
    \A i \in Instances :
        /\ probes[i] = attempts[i][Probe]
        /\ probes[i] <= (IF circuit_states[i] = "half_open" THEN HalfOpenProbes ELSE 0)

\* No attempt begins on an instance whose circuit does not permit it, and a circuit that has failed too often in a row
\* does not go on permitting, unless as many are open as `max_open` allows; never are there more than that.
CircuitBreakerSafety ==
    [][/\ \A i \in Instances :
            /\ Mode = "enforce" /\ Total(attempts'[i]) > Total(attempts[i]) =>
                \/ circuit_states[i] = "closed"
                \/ circuit_states[i] = "half_open" /\ attempts[i][Probe] < HalfOpenProbes
            /\ consecutive_failures'[i] >= ConsecutiveFailures /\ consecutive_failures'[i] # consecutive_failures[i] =>
                NotClosed >= MaxOpen
            /\ Fail(i) => consecutive_failures'[i] = consecutive_failures[i] + 1 /\ consecutive_failures'[i] < ConsecutiveFailures
            /\ Succeed(i) => consecutive_failures'[i] = 0
       /\ NotClosed' <= MaxOpen
      ]_vars

-----------------------------------------------------------------------------
\* Liveness, under Fairness

\* A step that keeps instance i from recovering: its circuit opens, or a probe ends without being judged.
Spoils(i) ==
    \/ circuit_states[i] # "open" /\ circuit_states'[i] = "open"
    \/ /\ circuit_states'[i] = "half_open"
       /\ attempts'[i][Probe] < attempts[i][Probe]
       /\ probes_passed'[i] = probes_passed[i]

\* An open circuit becomes half-open; no probe holds a half-open circuit for ever, whatever its instance does; and once
\* nothing spoils it any more, the circuit closes for good.
CircuitBreakerRecovery ==
    \A i \in Instances :
        /\ circuit_states[i] = "open" ~> circuit_states[i] = "half_open"
        /\ circuit_states[i] = "half_open" ~> (circuit_states[i] # "half_open" \/ WantsProbe(i))
        /\ <>[][~Spoils(i)]_vars => <>[](circuit_states[i] = "closed")
=============================================================================
