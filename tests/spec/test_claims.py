"""What `make model-check` asks of the manifest itself, before TLC is asked anything."""

import dataclasses

import pytest

from specs import check, tlc
from specs.claims import Claim, Model, Mutant, manifest, never_refuted, never_taken_anywhere

STATED = manifest(tlc.SPECS / "manifest.json")
ALONE = next(one for one in STATED if isinstance(one, Model) and one.name == "registry mirror, alone")


def mutant(violates: str, model: Model = ALONE) -> Mutant:
    return Mutant("a mutant", model, model.module, violates, "old", "new")


def test_every_action_is_taken_and_every_property_is_violated_by_a_mutant() -> None:
    assert never_taken_anywhere(STATED) == {}
    assert never_refuted(STATED) == {}


def test_a_property_that_no_mutant_violates_is_named() -> None:
    assert ALONE.properties == {"MirrorConvergence", "DoubtEnds"}
    assert never_refuted([ALONE, mutant("DoubtEnds")]) == {"RegistryMirror.tla": {"MirrorConvergence"}}
    assert never_refuted([mutant("MirrorConvergence"), ALONE, mutant("DoubtEnds")]) == {}


def test_a_mutant_of_another_module_says_nothing_of_this_one() -> None:
    other = dataclasses.replace(ALONE, module="Other.tla")
    claims: list[Claim] = [ALONE, other, mutant("DoubtEnds"), mutant("MirrorConvergence", other)]
    assert never_refuted(claims) == {"RegistryMirror.tla": {"MirrorConvergence"}, "Other.tla": {"DoubtEnds"}}


def test_the_whole_check_fails_where_a_property_has_no_mutant(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "manifest", lambda _: [ALONE, mutant("DoubtEnds")])
    assert check.main([]) == 1
    assert "RegistryMirror.tla: MirrorConvergence" in capsys.readouterr().err
