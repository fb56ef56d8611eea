---------------------------- MODULE RegistryMirror ----------------------------
(* Our view of one service in Consul, kept by blocking queries, as           *)
(* `discovery/watch.py`, `doubt.py` and `service_view.py` keep it: what      *)
(* Consul holds and says, what we may see of it, and what we make of it.     *)
(*                                                                           *)
(* Consul is the environment: its servers lag, lose what they held, are      *)
(* restored from a snapshot, answer nothing or less than they hold; our      *)
(* rights come and go. Time is left out: what a timer does may happen at any *)
(* moment while its cause lasts. Pacing, back-off and the disk snapshot only *)
(* choose the moment, or the first mirror, and are left out too.             *)
EXTENDS Integers, FiniteSets, Sequences, TLC

CONSTANTS
    Instances,
    Healths,    \* what Consul may hold of an instance, besides Absent
    Rights,     \* bound of the model: which instances our token may be permitted to see; {}: not even the service
    Troubles,   \* bound of the model: what may befall Consul: "restart", "restore", "lag"
    Admits,     \* bound of the model: what a server may say of itself; TRUE: without a leader, or out of touch with it
    MaxIndex    \* bound of the model: the highest index

VARIABLES
    log,            \* log[n] is the service as it was at index n; the leader holds the last, a server that lags another
    rights,         \* whom our token may see
    starting,       \* Consul was just started and shows nothing of what it holds
    phase,          \* of a turn: "idle", "parked" at Consul, or "answered" and not yet judged
    question,       \* [index, rights] it was asked with; index 0 is none, and such a question does not wait
    reply,          \* [truth, visible, index, unsure]: what that server holds, whom of it it shows, what it says of itself
    index,          \* to ask with next, 0 while a question is out
    highest,        \* index of the last answer that was judged
    reconnected,    \* Consul was lost, and no answer asked for since then was judged
    roused,         \* Consul was lost while an answer was being judged: it is another one that has to be doubted
    mirror,
    doubt,          \* [Instances -> "none"; "running" while its grace lasts; "over"]
    fallen,         \* those in doubt because the index fell: held although others are there
    looked          \* those that were missing once, and are looked for again in an answer asked for afresh

consul == <<log, rights, starting>>
turn == <<phase, question, reply>>
memory == <<index, highest, reconnected, roused>>
content == <<mirror, doubt, fallen, looked>>
vars == <<log, rights, starting, phase, question, reply, index, highest, reconnected, roused,
          mirror, doubt, fallen, looked>>

Absent == "absent"
Empty == [i \in Instances |-> Absent]
NoDoubt == [i \in Instances |-> "none"]
NoQuestion == [index |-> 0, rights |-> {}]
NoReply == [truth |-> Empty, visible |-> {}, index |-> 0, unsure |-> FALSE]

catalog == log[Len(log)]
Registered(state) == {i \in Instances : state[i] # Absent}
Seen(state, visible) == [i \in Instances |-> IF i \in visible THEN state[i] ELSE Absent]

-----------------------------------------------------------------------------
\* Consul

CatalogChanges ==
    /\ Len(log) < MaxIndex
    /\ \E i \in Instances, entry \in Healths \cup {Absent} :
        entry # catalog[i] /\ log' = Append(log, [catalog EXCEPT ![i] = entry])
    /\ UNCHANGED <<rights, starting, turn, memory, content>>

\* From a snapshot: the index falls, and will be reached again with another content.
CatalogRestored ==
    /\ "restore" \in Troubles
    /\ \E n \in 1..Len(log) - 1 : log' = SubSeq(log, 1, n)
    /\ UNCHANGED <<rights, starting, turn, memory, content>>

\* Our rights may change at any moment but one: those that were found in order stay so for the second look.
RightsChange ==
    /\ \E these \in Rights \ {rights} : looked \cap rights \subseteq these /\ rights' = these
    /\ UNCHANGED <<log, starting, turn, memory, content>>

AgentStarted ==
    /\ starting
    /\ starting' = FALSE
    /\ UNCHANGED <<log, rights, turn, memory, content>>

-----------------------------------------------------------------------------
\* The watch: a question, its answer, or its failure

\* A new token, or the time to look again at what is denied or doubted, may ask for an answer of now.
Ask ==
    /\ phase = "idle"
    /\ \E from \in {index, 0} : question' = [index |-> from, rights |-> rights]
    /\ phase' = "parked"
    /\ index' = 0
    /\ UNCHANGED <<consul, reply, highest, reconnected, roused, content>>

\* The server that holds log[n] answers. It filters by the rights of when it was asked; it may know of itself that it
\* is without a leader, or has not heard of it for long.
AnsweredWith(n) ==
    /\ phase = "parked"
    /\ phase' = "answered"
    /\ \E unsure \in Admits :
        reply' = [truth |-> log[n], visible |-> IF starting THEN {} ELSE question.rights, index |-> n, unsure |-> unsure]
    /\ question' = NoQuestion
    /\ UNCHANGED <<consul, memory, content>>

Passed(n) == question.index = 0 \/ n > question.index

Answer == Passed(Len(log)) /\ AnsweredWith(Len(log))
AnswerBehind == "lag" \in Troubles /\ \E n \in 1..Len(log) - 1 : Passed(n) /\ AnsweredWith(n)

\* The time that a question may wait is over: what there is is answered, passed or not.
WaitEnds == \E n \in (IF "lag" \in Troubles THEN 1..Len(log) ELSE {Len(log)}) : ~Passed(n) /\ AnsweredWith(n)

GivenUp ==
    /\ phase' = "idle"
    /\ question' = NoQuestion
    /\ reply' = NoReply
    /\ index' = 0
    /\ roused' = FALSE

\* No answer, a status that is none, one that cannot be read, or the question for our rights failed: nothing counts.
Fail ==
    /\ phase \in {"parked", "answered"}
    /\ GivenUp
    /\ reconnected' = TRUE
    /\ UNCHANGED <<consul, highest, mirror, doubt, fallen, looked>>

\* Consul is back, says the lighthouse: a question that waits is given up, what is being judged is judged first.
Rouse ==
    /\ IF phase = "answered"
       THEN roused' = TRUE /\ UNCHANGED <<turn, index, reconnected>>
       ELSE GivenUp /\ reconnected' = TRUE
    /\ UNCHANGED <<highest, content>>

RousedByTheLighthouse == Rouse /\ UNCHANGED consul

\* The agent was started again, with what it held or without. That we lost it is noticed, by whoever asked last.
AgentRestarts ==
    /\ "restart" \in Troubles
    /\ log' \in {log, <<Empty>>}
    /\ starting' = TRUE
    /\ Rouse
    /\ UNCHANGED rights

-----------------------------------------------------------------------------
\* What an answer means: `ServiceView.take`

Before == Registered(mirror)
Shown == Seen(reply.truth, reply.visible)
Present == Registered(Shown)
Missing == Before \ Present

Fell == reply.index < highest
Signs == reconnected \/ reply.unsure \/ Fell

\* `Doubt.held`. A sign begins a doubt of each that is not in one yet. One of another cause begins anew, once, where
\* the index fell.
Begun ==
    [i \in Instances |->
        IF Signs /\ i \in Before /\ (doubt[i] = "none" \/ (Fell /\ i \notin fallen)) THEN "running" ELSE doubt[i]]
Fallen == IF Fell THEN Before ELSE fallen

\* Where the index did not fall, only an answer that is empty altogether is doubted.
Doubted == {i \in Missing : Begun[i] # "none" /\ (Present = {} \/ i \in Fallen)}
Held == {i \in Doubted : Begun[i] = "running"}

\* Of what is missing, those whom we may not see: so we are told when we ask now.
Hidden == IF rights = {} THEN Missing ELSE Missing \ rights

\* What nobody holds or hides is gone when it is missing a second time.
LookedFor == Missing \ (Held \cup Hidden \cup looked)
Kept == Held \cup Hidden \cup LookedFor

Take ==
    /\ phase = "answered"
    /\ phase' = "idle"
    /\ reply' = NoReply
    /\ mirror' = [i \in Instances |-> IF i \in Kept THEN mirror[i] ELSE Shown[i]]
    /\ doubt' = [i \in Instances |-> IF i \in Doubted \cap Kept THEN Begun[i] ELSE "none"]
    /\ fallen' = Fallen \cap Doubted \cap Kept
    /\ looked' = LookedFor
    /\ highest' = reply.index
    /\ index' = IF Fell \/ LookedFor # {} \/ roused THEN 0 ELSE reply.index
    /\ reconnected' = roused
    /\ roused' = FALSE
    /\ UNCHANGED <<consul, question>>

GraceEnds(i) ==
    /\ doubt[i] = "running"
    /\ doubt' = [doubt EXCEPT ![i] = "over"]
    /\ UNCHANGED <<consul, turn, memory, mirror, fallen, looked>>

-----------------------------------------------------------------------------

Init ==
    /\ log = <<Empty>>
    /\ rights \in Rights
    /\ starting = FALSE
    /\ phase = "idle"
    /\ question = NoQuestion
    /\ reply = NoReply
    /\ index = 0
    /\ highest = 0
    /\ reconnected = FALSE
    /\ roused = FALSE
    /\ mirror = Empty
    /\ doubt = NoDoubt
    /\ fallen = {}
    /\ looked = {}

Next ==
    \/ CatalogChanges \/ CatalogRestored \/ RightsChange \/ AgentRestarts \/ AgentStarted
    \/ Ask \/ Answer \/ AnswerBehind \/ WaitEnds \/ Fail \/ RousedByTheLighthouse \/ Take
    \/ \E i \in Instances : GraceEnds(i)

Spec == Init /\ [][Next]_vars

\* Of the watch: it asks, judges, and lets no doubt last. Of Consul: what is asked again and again is answered at last.
\* Failures, signs and rousings may go on for ever.
Fairness ==
    /\ WF_vars(Ask)
    /\ SF_vars(Answer)
    /\ SF_vars(WaitEnds)
    /\ SF_vars(Take)
    /\ \A i \in Instances : WF_vars(GraceEnds(i))

FairSpec == Spec /\ Fairness

Symmetry == Permutations(Instances)
AllOrNothing == {Instances, {}}
AlwaysAll == {Instances}
AnyRights == SUBSET Instances

-----------------------------------------------------------------------------
\* Safety. The properties speak of states and steps, not of the actions' definitions.

TypeOK ==
    /\ Len(log) \in 1..MaxIndex
    /\ \A n \in 1..Len(log) : log[n] \in [Instances -> Healths \cup {Absent}]
    /\ rights \in Rights
    /\ starting \in BOOLEAN
    /\ phase \in {"idle", "parked", "answered"}
    /\ question \in [index : 0..MaxIndex, rights : SUBSET Instances]
    /\ reply.index \in 0..MaxIndex
    /\ index \in 0..MaxIndex
    /\ highest \in 0..MaxIndex
    /\ reconnected \in BOOLEAN
    /\ roused \in BOOLEAN
    /\ looked \subseteq Instances

\* What the mirror holds is of a health that Consul has; only what it holds is in doubt.
ValidServiceStates ==
    /\ mirror \in [Instances -> Healths \cup {Absent}]
    /\ doubt \in [Instances -> {"none", "running", "over"}]
    /\ \A i \in Instances : doubt[i] # "none" => mirror[i] # Absent
    /\ \A i \in fallen : doubt[i] # "none"

AnswerIsOver == phase = "answered" /\ phase' = "idle"
ReplyShows == Seen(reply.truth, reply.visible)
Leaves(i) == mirror[i] # Absent /\ mirror'[i] = Absent

\* An answer is a state of the catalog, as one of its servers holds it then. The mirror changes when an answer is
\* judged and by nothing else, and after each answer that counts it is what that answer shows, all of it, and besides
\* what was there before and is in doubt, hidden from us, or looked for again. So, by induction, each entry was in the
\* catalog once, in just this state; and where there is nothing of that kind, the mirror is a state of the catalog as
\* far as we may see it.
RegistryConsistency ==
    [][/\ phase' = "answered" /\ phase # "answered" => \E n \in 1..Len(log) : reply'.truth = log[n]
       /\ phase = "answered" /\ phase' = "answered" => reply' = reply
       /\ mirror' # mirror => AnswerIsOver
       /\ mirror' # mirror \/ (AnswerIsOver /\ ~reconnected') =>
            \A i \in Instances : mirror'[i] # ReplyShows[i] =>
                /\ ReplyShows[i] = Absent /\ mirror'[i] = mirror[i]
                /\ doubt'[i] = "running" \/ i \notin rights \/ i \in looked'
      ]_vars

\* No failure, no missing right, and no Consul that was just started takes anything away: an instance leaves the mirror
\* by the answer of a server that does not hold it, or when it was missing for a whole grace.
TroubleTakesNothing ==
    [][\A i \in Instances : Leaves(i) => doubt[i] = "over" \/ (AnswerIsOver /\ reply.truth[i] = Absent)]_vars

\* What has to be doubted is held for its grace: all, where an empty answer comes with a sign; each one that was not
\* seen again, where the index fell.
DoubtHolds ==
    [][\A i \in Instances : Leaves(i) /\ doubt[i] # "over" =>
        LET sign == reconnected \/ reply.unsure \/ doubt[i] = "running"
        IN  /\ reply.index >= highest
            /\ ~(i \in fallen /\ doubt[i] = "running")
            /\ sign => ReplyShows # Empty
      ]_vars

\* A grace that is over is granted once more only where the index falls for the first time since; and what is missing
\* then is kept for a second look alone, or because it is hidden from us.
GraceIsBounded ==
    [][\A i \in Instances : doubt[i] = "over" =>
        /\ doubt'[i] = "running" => i \in fallen' \ fallen
        /\ AnswerIsOver /\ ~reconnected' /\ doubt'[i] = "over" => i \in looked' \ looked \/ i \notin rights
      ]_vars

\* A question never waits for more than the last answer's index to be passed.
NeverAsksAhead == phase = "parked" => question.index \in {0, highest}

\* Deadlock freedom: the view always has a step of its own, or one that Consul owes it by the end of the wait.
NoDeadlock ==
    /\ phase = "idle" => ENABLED Ask
    /\ phase = "parked" => ENABLED Answer \/ ENABLED WaitEnds
    /\ phase = "answered" => ENABLED Take
    /\ \A i \in Instances : doubt[i] = "running" => ENABLED GraceEnds(i)

-----------------------------------------------------------------------------
\* Liveness, under Fairness

\* What the catalog holds last, and we may see, the mirror holds in the end: once nothing lags or hides any more.
Settled ==
    /\ log' = log
    /\ phase = "parked" /\ phase' = "answered" => reply'.truth = catalog /\ reply'.visible = Instances
MirrorConvergence == <>[][Settled]_vars /\ <>[](rights = Instances) => <>[](mirror = catalog)

\* No doubt lasts, whatever else Consul does, if only it answers; but what is hidden from us nobody can settle.
DoubtEnds == \A i \in Instances : <>[](i \in rights) => (doubt[i] # "none" ~> doubt[i] = "none")

-----------------------------------------------------------------------------
\* What has to be reached, as states and as steps

MirrorLags == phase = "parked" /\ doubt = NoDoubt /\ looked = {} /\ mirror # catalog
HeldThoughGone == catalog = Empty /\ \E i \in Instances : doubt[i] = "running"
FallsWhileDoubted == AnswerIsOver /\ \E i \in Instances : doubt[i] = "running" /\ i \in fallen' \ fallen
FallsAgain == AnswerIsOver /\ fallen # {} /\ \E i \in Instances : doubt[i] = "none" /\ i \in fallen'
HiddenIsKept == AnswerIsOver /\ rights = {} /\ ReplyShows = Empty /\ ~reconnected' /\ mirror' # Empty /\ mirror' = catalog
StartsEmpty == AnswerIsOver /\ reply.visible = {} /\ rights = Instances /\ ~reconnected' /\ mirror' # Empty
=============================================================================
