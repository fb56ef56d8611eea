------------------------------ MODULE Balancer ------------------------------
(* Smooth weighted round robin as `WeightedRoundRobin` in `core/balancer.py` *)
(* runs it for one pool: nginx's algorithm, whose current values are put     *)
(* down as leads (turns owed) at a change and taken up again after it.       *)
(* Noting a round down and reading it off is left out: it changes no pick.   *)
(*                                                                           *)
(* Who is eligible, and with which weights, is the environment's, and may    *)
(* change before every pick. The code looks at it only when it picks, so     *)
(* what it was in between is nothing to it: `Change` is a change and the     *)
(* pick that finds it.                                                       *)
(*                                                                           *)
(* A turn is `Turn` units, in the code 2^20. Where the totals of all         *)
(* weights divide `Turn`, leads are whole and nothing is ever rounded: the   *)
(* algorithm in exact numbers. Where they do not, each change rounds a lead  *)
(* by less than a unit; in the code that is a millionth of a turn, in a      *)
(* small model as much as a sixth, so what holds there holds with room to    *)
(* spare. Leads only ever meet sums, differences and a cut at one turn, all  *)
(* of which scale with `Turn`: a large one adds states, no kinds of states.  *)
(* What rounding needs is that a unit is no more than the smallest share of  *)
(* a turn; the code has that while weights sum to less than a million.       *)
EXTENDS Integers, FiniteSets

CONSTANTS
    Instances,   \* 1..n, in the order in which ties are decided
    Weightings,  \* the weights that may be in force, each a function from Instances
    Turn,        \* units of a lead in one turn
    Departing,   \* instances that may be deregistered, and come back as newcomers
    Pasts,       \* the leads that a behaviour may begin with
    MostOwed,    \* units that an instance may be owed, or be ahead
    MostPassed,  \* for each instance, the picks in a row that may pass it while it is eligible
    Watching     \* what a history may be kept of: instances, `Shares` or `Nothing`

VARIABLES
    weights,
    eligible,  \* as the last pick found it, less whoever departed since
    entered,   \* whether the turns go on among the eligible: not at first, nor after a departure
    currents,  \* the current values of those that entered; of others 0
    leads,     \* units owed to those that are not eligible; of those that entered 0: nobody looks at them
    picked     \* by the last step; 0 where it was no pick

turns == <<weights, eligible, entered, currents, leads>>

\* History that the properties speak of and the algorithm does not see. Each behaviour keeps only one kind of it,
\* chosen when it begins: of one instance, or of the shares in windows of W picks.
Shares == 0
Nothing == -1

VARIABLES
    watched,
    lag,     \* units owed to the instance watched, counted anew: its share of all picks that it was eligible for, less its own
    passed,  \* picks in a row that passed it while it was eligible
    since,   \* picks since eligibility or weights last changed, counted up to W
    window   \* picks of each instance in a window that began at any moment allowed; <<>> before

history == <<watched, lag, passed, since, window>>
vars == <<weights, eligible, entered, currents, leads, picked, watched, lag, passed, since, window>>

\* The same function, which TLC then works out once and not at each application.
Fixed(f) == [f EXCEPT ![1] = @]

RECURSIVE SumUpTo(_, _, _)
SumUpTo(f, S, n) == IF n = 0 THEN 0 ELSE (IF n \in S THEN f[n] ELSE 0) + SumUpTo(f, S, n - 1)
Sum(f, S) == SumUpTo(f, S, Cardinality(Instances))

Mean(f, S) == Sum(f, S) \div Cardinality(S)
Zero == [i \in Instances |-> 0]

Max(a, b) == IF a < b THEN b ELSE a
Min(a, b) == IF a < b THEN a ELSE b

\* The same is added to each, so that they sum to `total`; what does not divide goes to the first.
Level(f, S, total) ==
    LET missing == total - Sum(f, S)
        each == missing \div Cardinality(S)
        rest == missing % Cardinality(S)
    IN  IF missing = 0 THEN f
        ELSE Fixed([i \in Instances |->
            IF i \notin S THEN 0
            ELSE f[i] + each + (IF Cardinality({j \in S : j < i}) < rest THEN 1 ELSE 0)])

\* Nobody farther than one turn from the mean that remains.
RECURSIVE Cut(_, _)
Cut(f, S) ==
    LET mean == Mean(f, S)
        cut == Fixed([i \in Instances |-> IF i \in S THEN Max(mean - Turn, Min(mean + Turn, f[i])) ELSE 0])
    IN  IF cut = f THEN f ELSE Cut(cut, S)

Only(f, S) == Fixed([i \in Instances |-> IF i \in S THEN f[i] ELSE 0])

\* `_leave`: the current values, put down as leads of the same sum.
PutDown ==
    IF ~entered THEN leads
    ELSE LET total == Sum(weights, eligible)
             down == Level(Fixed([i \in Instances |-> currents[i] \div total]), eligible, Sum(currents, eligible) \div total)
         IN  Fixed([i \in Instances |-> IF i \in eligible THEN down[i] ELSE leads[i]])

\* `_carried`: the leads that the members begin with.
Carried(down, S) == Level(Cut(Only(down, S), S), S, Sum(down, S))

\* One turn among S: nginx's algorithm.
Take(S, weighed, begun) ==
    \E raised \in {[i \in Instances |-> IF i \in S THEN begun[i] + weighed[i] * Turn ELSE 0]} :
        LET best == CHOOSE i \in S : \A j \in S : raised[j] < raised[i] \/ (raised[j] = raised[i] /\ i <= j)
        IN  /\ picked' = best
            /\ currents' = [raised EXCEPT ![best] = @ - Sum(weighed, S) * Turn]

\* A pick among S, to whom the code may have to change over first.
PickAmong(S, weighed) ==
    /\ eligible' = S
    /\ weights' = weighed
    /\ entered' = TRUE
    /\ IF entered /\ S = eligible /\ weighed = weights
       THEN leads' = leads /\ Take(S, weighed, currents)
       ELSE \E down \in {PutDown} : \E begin \in {Carried(down, S)} :
                /\ leads' = [i \in Instances |-> IF i \in S THEN 0 ELSE down[i]]
                /\ Take(S, weighed, [i \in Instances |-> begin[i] * Sum(weighed, S)])

-----------------------------------------------------------------------------
\* The history, told from what the step did.

Share(i) == (weights'[i] * Turn) \div Sum(weights', eligible')
Exact == \A w \in Weightings, S \in SUBSET Instances \ {{}} : Turn % Sum(w, S) = 0

ToldOfInstance ==
    IF watched \notin Instances \/ watched \notin eligible' THEN lag' = lag /\ passed' = 0
    ELSE /\ lag' = IF ~Exact THEN 0 ELSE lag + Share(watched) - (IF picked' = watched THEN Turn ELSE 0)
         /\ passed' = IF picked' = watched THEN 0 ELSE passed + 1

Whole == Sum(weights, eligible)

ToldOfShares(changed) ==
    IF watched # Shares THEN UNCHANGED <<since, window>>
    ELSE IF changed THEN since' = 1 /\ window' = <<>>
    ELSE /\ since' = Min(since + 1, Whole)
         /\ IF window # <<>> /\ Sum(window, Instances) < Whole
            THEN window' = [window EXCEPT ![picked'] = @ + 1]
            ELSE window' \in {<<>>} \cup (IF since = Whole THEN {[Zero EXCEPT ![picked'] = 1]} ELSE {})

-----------------------------------------------------------------------------

Pick ==
    /\ eligible # {}
    /\ PickAmong(eligible, weights)
    /\ ToldOfInstance
    /\ ToldOfShares(FALSE)
    /\ watched' = watched

Change ==
    \E S \in SUBSET Instances \ {{}}, weighed \in Weightings :
        /\ <<S, weighed>> # <<eligible, weights>>
        /\ PickAmong(S, weighed)
        /\ ToldOfInstance
        /\ ToldOfShares(TRUE)
        /\ watched' = watched

\* `retain`: the pool forgets an instance that was deregistered.
Depart(i) ==
    /\ leads' = [PutDown EXCEPT ![i] = 0]
    /\ eligible' = eligible \ {i}
    /\ entered' = FALSE
    /\ currents' = Zero
    /\ picked' = 0
    /\ IF watched = i THEN lag' = 0 /\ passed' = 0 ELSE UNCHANGED <<lag, passed>>
    /\ IF i \in eligible THEN since' = 0 /\ window' = <<>> ELSE UNCHANGED <<since, window>>
    /\ UNCHANGED <<weights, watched>>

Init ==
    /\ weights \in Weightings
    /\ eligible = {}
    /\ entered = FALSE
    /\ currents = Zero
    /\ leads \in Pasts
    /\ picked = 0
    /\ watched \in Watching
    /\ lag = 0 /\ passed = 0 /\ since = 0 /\ window = <<>>

Next == Pick \/ Change \/ \E i \in Departing : Depart(i)

Spec == Init /\ [][Next]_vars

\* Of requests: they keep coming. Eligibility may change before each.
Fairness == WF_vars(Pick)

FairSpec == Spec /\ Fairness

-----------------------------------------------------------------------------
\* Safety. The properties speak of states and steps, not of the actions' definitions.

Lead(i) == IF entered /\ i \in eligible THEN currents[i] \div Sum(weights, eligible) ELSE leads[i]

TypeOK ==
    /\ weights \in Weightings
    /\ eligible \in SUBSET Instances
    /\ entered \in BOOLEAN
    /\ picked \in {0} \cup Instances
    /\ \A i \in Instances : -MostOwed <= Lead(i) /\ Lead(i) <= MostOwed
    /\ \A i \in Instances : currents[i] # 0 => entered /\ i \in eligible
    /\ watched \in Watching
    /\ lag \in Int /\ passed \in Nat
    /\ since \in 0..Whole

\* Each eligible instance gets exactly its weight in any window of W picks that begins at least W picks after the last
\* change; whatever changes, nobody is ever owed or ahead more than so much, nobody who is eligible is passed more often
\* than so, and, but for those who left, what some are owed is what others are ahead.
LoadBalancingFairness ==
    /\ picked # 0 => picked \in eligible
    /\ window # <<>> /\ Sum(window, Instances) = Whole =>
        \A i \in Instances : window[i] = (IF i \in eligible THEN weights[i] ELSE 0)
    /\ -MostOwed <= lag /\ lag <= MostOwed
    /\ Departing = {} =>
        (IF entered THEN Sum(currents, eligible) + Sum(leads, Instances) * Whole ELSE Sum(leads, Instances)) = 0
    /\ watched \in Instances => passed <= MostPassed[watched]

-----------------------------------------------------------------------------
\* Liveness, under Fairness

\* An instance that stays eligible is picked again and again, however eligibility of the others changes.
NobodyStarves == \A i \in Instances : <>[](i \in eligible) => []<>(picked = i)
-----------------------------------------------------------------------------
\* What the configurations choose among

Even == {<<1, 1, 1>>}
Uneven == {<<3, 2, 1>>}
Edited == {<<2, 1, 1>>, <<1, 1, 2>>}
EvenFour == {<<1, 1, 1, 1>>}

PassedEven == <<3, 3, 3>>
PassedUneven == <<3, 4, 8>>
PassedEdited == <<6, 6, 6>>
PassedRounded == <<3, 5, 11>>
PassedNewcomers == <<5, 5, 4>>
PassedFour == <<9, 9, 9, 9>>

\* Nothing is owed to anybody yet; or leads as far apart as only many instances or days of rounding bring them.
None == {Zero}
Far == {[i \in Instances |-> Turn * turns_owed[i]] : turns_owed \in {f \in [Instances -> -3..3] : Sum(f, Instances) = 0}}

Everything == Instances \cup {Shares}
OneAndShares == {1, Shares}
OnlyShares == {Shares}
NoHistory == {Nothing}
=============================================================================
