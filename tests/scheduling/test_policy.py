"""The rules of the fair tree: who stands where, what is refused, what a change changes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from moduai.scheduling.policy import (
    PLAIN,
    Assign,
    ClassRule,
    Limits,
    NodeRule,
    Placed,
    Policy,
    Pressure,
    Problem,
    check,
    diff,
    trusted,
)

TITLE = {"ko": "가", "en": "A"}


def rule(name: str = "a", **more: Any) -> ClassRule:
    return ClassRule(name=name, title=TITLE, **more)


def policy(*rules: ClassRule, **more: Any) -> Policy:
    classes = {one.name: one for one in rules or (rule("a"), rule("b"))}
    return Policy(**{"name": "mine", "classes": classes, "default": next(iter(classes)), **more})


def some(*names: str) -> frozenset[str]:
    return frozenset(names)


def said(found: Policy) -> list[tuple[str, str]]:
    return [(".".join(map(str, one.path)), one.text) for one in check(found)]


def test_a_principal_goes_where_the_first_rule_says_then_by_its_own_class_then_to_the_default() -> None:
    made = policy(
        rule("resident", groups={"student": 2000}),
        rule("lab", share_by="zone"),
        rule("rest"),
        default="rest",
        assign=(
            Assign("lab", zones=some("busan"), service_classes=some("business", "resident")),
            Assign("resident", organisations=some("org_1")),
            Assign("rest", groups=some("banned")),
            Assign("lab"),
        ),
    )
    assert made.place("resident", "org_2", "student") == Placed("resident", "org_2", 2000)
    assert made.place("resident", "org_2", "other") == Placed("resident", "org_2", 1000)
    assert made.place("unheard-of", "org_2") == Placed("rest", "org_2", 1000), "fails to the default"
    assert made.place("business", "org_1", "", "busan") == Placed("lab", "busan", 1000), (
        "the first one counts"
    )
    assert made.place("lab", "org_2") == Placed("lab", "org_2", 1000), "without a zone by organisation"
    assert made.place("batch", "org_1", "", "busan") == Placed("resident", "org_1", 1000)
    assert made.place("resident", "org_2", "banned") == Placed("rest", "org_2", 1000)


def test_organisations_that_are_not_named_have_the_rule_of_each() -> None:
    made = rule(each=NodeRule(cap=100), organisations={"org_1": NodeRule(weight=5000)})
    assert made.rule("org_1") == NodeRule(weight=5000)
    assert made.rule("org_2") == NodeRule(cap=100)


def test_plain_is_valid_and_has_no_favourites() -> None:
    assert not check(PLAIN)
    assert PLAIN.place("guest", "net_1") == Placed("all", "net_1", 1000)


@pytest.mark.parametrize(
    ("bad", "where", "text"),
    [
        (policy(name=""), "name", "1 to 60"),
        (policy(name="a\n"), "name", "1 to 60"),
        (Policy("mine", {}, "a"), "class", "nobody could be served"),
        (policy(default="c"), "default", "'c' is not among"),
        (policy(rule("a", guarantee=600), rule("b", guarantee=401)), "class.b.guarantee", "100.1 %"),
        (policy(rule("A b")), "class.A b", "begins with a letter"),
        (policy(ClassRule("a", {})), "class.a.title", "at least one language"),
        (policy(ClassRule("a", {"english": "A"})), "class.a.title.english", "by its code"),
        (policy(ClassRule("a", {"en": ""})), "class.a.title.en", "1 to 60"),
        (policy(rule(weight=0)), "class.a.weight", "weight is 0: it must be 0.001 to 1,000"),
        (policy(rule(weight=-2500)), "class.a.weight", "-2.5"),
        (policy(rule(weight=1_000_001)), "class.a.weight", "1000"),
        (policy(rule(guarantee=-10)), "class.a.guarantee", "-1 %: it must be 0 % to 100 %"),
        (policy(rule(cap=0)), "class.a.cap", "0 %: it must be 0.1 % to 100 %"),
        (policy(rule(guarantee=300, cap=200)), "class.a.guarantee", "(30 %) is above the cap (20 %)"),
        (policy(rule(each=NodeRule(guarantee=1))), "class.a.each.guarantee", "named"),
        (policy(rule(each=NodeRule(weight=0))), "class.a.each.weight", "must be"),
        (
            policy(rule(guarantee=300, organisations={"o": NodeRule(guarantee=301)})),
            "class.a.organisation",
            "guaranteed 30.1 %, the class itself 30 %",
        ),
        (policy(rule(organisations={"o": NodeRule(cap=-1)})), "class.a.organisation.o.cap", "must be"),
        (policy(rule(groups={"g": 0})), "class.a.groups.g", "must be"),
        (policy(rule(limits=Limits(0))), "class.a.limits.person", "must be 1 to 10,000,000"),
        (policy(limits=Limits(9, 8)), "limits", "at most"),
        (policy(assign=(Assign("c", zones=some("z")),)), "assign.0.class", "no class 'c'"),
        (policy(assign=(Assign("a"),)), "assign.0", "names nobody"),
        (policy(assign=(Assign("a", some("x")),) * 65), "assign.64", "at most 64 rules"),
        (policy(pressure=Pressure(shorten_after_s=-1)), "pressure.shorten_after_s", "must be"),
        (
            policy(pressure=Pressure(shorten_after_s=60, lighter_after_s=30)),
            "pressure.lighter_after_s",
            "before shorten_after_s",
        ),
        (
            policy(pressure=Pressure(shorten_after_s=60, refuse_after_s=30)),
            "pressure.refuse_after_s",
            "before shorten_after_s",
        ),
        (policy(pressure=Pressure(shorten_to=0)), "pressure.shorten_to", "must be"),
        (policy(pressure=Pressure(lighter={"a": "b", "b": "c"})), "pressure.lighter.a", "itself"),
        (policy(locality_window=-1), "locality_window_ms", "must be"),
        (policy(estimate_quantile=1000), "estimate_percentile", "100: it must be 1 to 99"),
        (policy(prices={"m": 0}), "prices.m", "must be"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(bad: Policy, where: str, text: str) -> None:
    [(path, found), *more] = said(bad)
    assert path == where
    assert text in found
    assert len(more) <= 1, "one mistake is not told many times"


def test_what_is_allowed() -> None:
    assert not check(
        policy(
            rule("a", weight=1, guarantee=1000, organisations={"o": NodeRule(1, 1000, 1000)}),
            rule("b", cap=1, limits=Limits(1, 1, 1)),
            assign=(Assign("b", service_classes=some("x"), groups=some("g")),),
            pressure=Pressure(1, 10, 0, {"big": "small"}, "auto", 2),
            prices={"m": 1},
        )
    )


def test_groups_that_people_choose_themselves_give_nothing() -> None:
    made = policy(
        rule("a", groups={"student": 2000, "senior": 3000}),
        rule("b"),
        assign=(
            Assign("b", groups=some("student")),
            Assign("b", groups=some("student", "senior"), zones=some("z")),
            Assign("b", zones=some("y")),
        ),
    )
    kept = trusted(made, {"student"})
    assert kept.classes["a"].groups == {"senior": 3000}
    assert kept.assign == (Assign("b", groups=some("senior"), zones=some("z")), Assign("b", zones=some("y")))
    assert trusted(made, ()) == made


def test_a_change_is_told_value_by_value() -> None:
    old = policy(rule("a", groups={"g": 2000}), rule("b"))
    new = msgspec.structs.replace(
        policy(rule("a", weight=3000), rule("c")), assign=(Assign("c", zones=some("z")),)
    )
    found = {".".join(change.path): (change.old, change.new) for change in diff(old, new)}
    assert found["classes.a.weight"] == (1000, 3000)
    assert found["classes.a.groups.g"] == (2000, None)
    assert found["classes.b.weight"] == (1000, None)
    assert found["classes.c.weight"] == (None, 1000)
    assert found["assign"][1] == (msgspec.to_builtins(Assign("c", zones=some("z"))),)
    assert "classes.a.cap" not in found
    assert not diff(old, old)


def test_problems_are_data() -> None:
    assert check(policy(rule(weight=0))) == [
        Problem(("class", "a", "weight"), "weight is 0: it must be 0.001 to 1,000")
    ]
