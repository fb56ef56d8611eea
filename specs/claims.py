"""What the manifest claims of the models, and how TLC is asked whether it is so.

A model holds, with the stated number of states and every action taken. A mutant (one piece of text of a module
replaced) is refuted by the one property it breaks; a conjunct of fairness that is taken away is such a mutant too.
What is said to be reached is reached: TLC refutes that it never is.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

from specs import tlc

UNSOUND_FOR_LIVENESS = ("SYMMETRY", "VIEW", "CONSTRAINT", "ACTION_CONSTRAINT")
VIOLATED = {12, 13}

Found = tuple[str, bool]
"""What was found, and whether that is as claimed."""


@dataclass(frozen=True, slots=True)
class Model:
    name: str
    module: str
    config: str
    """Like `module`, a path under `specs`."""
    mode: str
    expected: tlc.Size | None
    coverage: bool
    """Whether it is seen which actions it takes, which costs half as much time again."""
    never_taken: frozenset[str]
    deep: bool
    seconds: int
    """About how long it takes; the longest are begun first."""

    @property
    def properties(self) -> frozenset[str]:
        """What its configuration has TLC check."""
        return frozenset(name for line in read(self.config).splitlines() if (name := _property(line)) is not None)

    def check(self, seconds: float | None = None) -> Found:
        """`seconds` limits a deep search, of which no size is claimed."""
        if self.mode == "liveness":
            unsound = [word for word in UNSOUND_FOR_LIVENESS if word in read(self.config).split()]
            if unsound:
                return f"{', '.join(unsound)} in {self.config}: unsound for liveness", False
        found = tlc.search(tlc.SPECS / self.module, tlc.SPECS / self.config, seconds=seconds, coverage=self.coverage)
        if self.deep and found.code is None:
            return f"not finished in {seconds:.0f} s, nothing wrong so far; {found.progress}", True
        if found.code or found.size is None:
            return f"TLC ended with {found.code}\n{found.errors}", False
        if self.expected is not None and found.size != self.expected:
            return f"holds, {found.size}; stated: {self.expected}", False
        if self.coverage and found.never_taken != self.never_taken:
            return f"never taken: {listed(found.never_taken)}; stated: {listed(self.never_taken)}", False
        return f"holds, {found.size}", True


@dataclass(frozen=True, slots=True)
class Mutant:
    name: str
    model: Model
    module: str
    """Where the text is replaced: the model's own module, or one that it extends."""
    violates: str
    old: str
    new: str
    seconds: int = 0

    def check(self) -> Found:
        text = read(self.module)
        times = text.count(self.old)
        if times != 1:
            return f"its text occurs {times} times in {self.module}", False
        with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
            tlc.copy_modules(Path(folder))
            (Path(folder) / self.module).write_text(text.replace(self.old, self.new))
            config = Path(folder) / "Mutant.cfg"
            config.write_text(only(self.model.config, self.violates))
            found = tlc.search(Path(folder) / self.model.module, config, coverage=False, short=True)
        if found.code in VIOLATED:
            return f"refuted by {self.violates}", True
        return f"not refuted by {self.violates}: TLC ended with {found.code}\n{found.errors}", False


@dataclass(frozen=True, slots=True)
class Reached:
    name: str
    model: Model
    reaches: str
    step: bool
    """Whether `reaches` speaks of a step, not of a state."""
    seconds: int = 0

    def check(self) -> Found:
        module = Path(self.model.module).stem
        never = f"[][~({self.reaches})]_vars" if self.step else f"~({self.reaches})"
        with tempfile.TemporaryDirectory(prefix="reached-") as folder:
            tlc.copy_modules(Path(folder))
            asking = Path(folder) / "Asking.tla"
            asking.write_text(f"---- MODULE Asking ----\nEXTENDS {module}\nNever == {never}\n====\n")
            kind = "PROPERTY" if self.step else "INVARIANT"
            config = Path(folder) / "Asking.cfg"
            config.write_text(f"{bare(self.model.config)}\n{kind} Never\n")
            found = tlc.search(asking, config, coverage=False, short=True)
        if found.code in VIOLATED:
            return "reached", True
        return f"never reached: TLC ended with {found.code}\n{found.errors}", False


Claim = Model | Mutant | Reached


def read(name: str) -> str:
    return (tlc.SPECS / name).read_text()


def listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def bare(config: str) -> str:
    """The configuration without its properties."""
    return "\n".join(line for line in read(config).splitlines() if _property(line) is None)


def only(config: str, name: str) -> str:
    """The configuration with no other property than this one. Raises ValueError where it does not name it."""
    lines = [line for line in read(config).splitlines() if _property(line) in (None, name)]
    if not any(_property(line) == name for line in lines):
        raise ValueError(f"{config} does not name {name}")
    return "\n".join(lines)


def _property(line: str) -> str | None:
    word, _, name = line.partition(" ")
    return name.strip() if word in {"INVARIANT", "PROPERTY"} else None


class StatedSize(TypedDict):
    distinct: int
    total: int
    depth: int


class StatedModel(TypedDict):
    name: str
    module: str
    config: str
    mode: str
    holds: NotRequired[StatedSize]
    coverage: NotRequired[bool]
    never_taken: NotRequired[list[str]]
    deep: NotRequired[bool]
    seconds: NotRequired[int]


class StatedMutant(TypedDict):
    name: str
    model: str
    module: NotRequired[str]
    violates: str
    replace: str
    by: str


class StatedReached(TypedDict):
    name: str
    model: str
    reaches: str
    step: NotRequired[bool]


class Manifest(TypedDict):
    models: list[StatedModel]
    mutants: list[StatedMutant]
    fairness: list[StatedMutant]
    """Each conjunct of the fairness taken away."""
    reached: list[StatedReached]


def manifest(path: Path) -> Sequence[Claim]:
    """All claims of a manifest. Raises KeyError where it lacks what a claim needs."""
    stated: Manifest = json.loads(path.read_text())
    models = {each["name"]: _model(each) for each in stated["models"]}
    mutants = [_mutant(each, models) for each in (*stated["mutants"], *stated["fairness"])]
    reached = [
        Reached(each["name"], models[each["model"]], each["reaches"], each.get("step", False))
        for each in stated["reached"]
    ]
    return [*models.values(), *mutants, *reached]


def never_taken_anywhere(claims: Iterable[Claim]) -> Mapping[str, frozenset[str]]:
    """By module, the actions that no search of it takes, where there are any: what they do is held against nothing."""
    missed: dict[str, frozenset[str]] = {}
    for one in claims:
        if isinstance(one, Model) and one.coverage and not one.deep:
            missed[one.module] = missed.get(one.module, one.never_taken) & one.never_taken
    return {module: actions for module, actions in missed.items() if actions}


def never_refuted(claims: Iterable[Claim]) -> Mapping[str, frozenset[str]]:
    """By module, the properties that no mutant violates, where there are any: they may hold of whatever it says."""
    missed: dict[str, set[str]] = {}
    violated: set[tuple[str, str]] = set()
    for one in claims:
        if isinstance(one, Model):
            missed.setdefault(one.module, set()).update(one.properties - {"TypeOK"})
        elif isinstance(one, Mutant):
            violated.add((one.model.module, one.violates))
    found = {
        module: frozenset(name for name in names if (module, name) not in violated) for module, names in missed.items()
    }
    return {module: names for module, names in found.items() if names}


def _model(stated: StatedModel) -> Model:
    return Model(
        name=stated["name"],
        module=stated["module"],
        config=stated["config"],
        mode=stated["mode"],
        expected=tlc.Size(**stated["holds"]) if "holds" in stated else None,
        coverage=stated.get("coverage", True),
        never_taken=frozenset(stated.get("never_taken", ())),
        deep=stated.get("deep", False),
        seconds=stated.get("seconds", 0),
    )


def _mutant(stated: StatedMutant, models: Mapping[str, Model]) -> Mutant:
    model = models[stated["model"]]
    module = stated.get("module", model.module)
    return Mutant(stated["name"], model, module, stated["violates"], stated["replace"], stated["by"])
