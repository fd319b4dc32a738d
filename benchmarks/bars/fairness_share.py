"""gap and share: how evenly siblings that always want more are served, at every level of the tree.

Everyone always has requests waiting. Work is what an engine has really done: tokens of prompts read,
and twice the tokens written, at the moment of looking. A gap is the difference of work divided by weight
between two siblings, since both began to wait.

The load of ``gap``: three classes of weight 1, 2 and 5, each with organisations of weight 1, 1 and 2, each
with people of weight 1, 1, 2 and 5; requests cost up to 18,000 tokens and begin with one of twenty texts.
The load of ``share``: three nodes of weight 1, 2 and 5 on one level and one on the others, in turn for
each level, and 24 people alike; requests as people at the page send them.
"""

from __future__ import annotations

from msgspec.structs import replace

from benchmarks.bars import Bench, Measured, Row
from benchmarks.bars.fairness_world import PRICE, STEP, WIDE, hits, policy
from moduai.planner import Engine, Twin
from moduai.planner.measure import Backlog, Node, Person, costliest, gaps, jain, work
from moduai.planner.traffic import BULK, CHAT, Sizes
from moduai.scheduling import FairQueue
from moduai.scheduling.policy import ClassRule, NodeRule
from moduai.scheduling.ticket import ONE

MUST_GAP = 1.5
MUST_ERROR, MUST_JAIN = 0.02, 0.99
WINDOW_TOKENS = 4_000
"""D where it is on: a quarter of the costliest request."""
BACKLOG_S = 60.0
FULL_S = 15.0
"""Until the pool is as full as it gets: what ran before anybody had to wait was not shared."""
DOCUMENTS = 20
ROOM = 4_000_000
"""KV room for whatever runs, so that all are eligible alike."""
LEVELS = ("classes", "organisations", "people")

Tree = dict[str, tuple[int, dict[str, tuple[int, dict[str, int]]]]]
"""Weights of classes, their organisations and their people, in thousandths."""


def gap(bench: Bench) -> Measured:
    """Largest gap at any level / the costliest request: with D = 0; with D on, in excess of D."""
    people = {f"person-{number}": weight * ONE for number, weight in enumerate((1, 1, 2, 5))}
    organisations = {f"office-{number}": (weight * ONE, people) for number, weight in enumerate((1, 1, 2))}
    tree: Tree = {f"class-{weight}": (weight * ONE, organisations) for weight in (1, 2, 5)}
    seconds = 20.0 if bench.quick else 180.0
    values, notes = [], []
    for window in (0, WINDOW_TOKENS):
        twin, weights = backlogged(tree, BULK, seconds, window, documents=DOCUMENTS)
        found, most = gaps(twin, weights.__getitem__, a_second=2), costliest(twin)
        values.append(round((max(found) - window) / most, 3))
        told = ", ".join(f"{level} {each:,.0f}" for level, each in zip(LEVELS, found, strict=True))
        notes.append(
            f"D = {window:,} tokens: gaps {told}; the costliest request {most:,}; "
            f"of prompts {hits(twin):.1%} were in the cache"
        )
    return Measured(
        Row("gap", list(values), f"<= {MUST_GAP}; <= {MUST_GAP} + D", max(values) <= MUST_GAP), notes
    )


def share(bench: Bench) -> Measured:
    """Error of shares of weight 1, 2 and 5 in 60 s, the largest of all levels; Jain's index of 24 alike."""
    seconds = 20.0 if bench.quick else BACKLOG_S
    errors, notes = [], []
    for level, name in enumerate(LEVELS):
        had = _work(_three(level), level, seconds)
        parts = {name: had[name] / sum(had.values()) for name in sorted(had)}
        errors.append(max(abs(part / (int(node.split("-")[1]) / 8) - 1) for node, part in parts.items()))
        told = ", ".join(f"{node} {part:.2%}" for node, part in parts.items())
        notes.append(f"{name}: {told}; error {errors[-1]:.2%}")
    alike: Tree = {"all": (ONE, {"none": (ONE, {f"person-{number}": ONE for number in range(24)})})}
    index = jain(list(_work(alike, 2, seconds).values()))
    value = [round(max(errors), 4), round(index, 5)]
    holds = value[0] <= MUST_ERROR and value[1] >= MUST_JAIN
    return Measured(Row("share", list(value), f"<= {MUST_ERROR}; >= {MUST_JAIN}", holds), notes)


def _three(level: int) -> Tree:
    """Weights 1, 2 and 5 at this level (0: classes), one node at the others."""
    weights = {f"node-{weight}": weight * ONE for weight in (1, 2, 5)}
    if level == 0:
        return {name: (weight, {"none": (ONE, {"person": ONE})}) for name, weight in weights.items()}
    if level == 1:
        return {"all": (ONE, {name: (weight, {"person": ONE}) for name, weight in weights.items()})}
    return {"all": (ONE, {"none": (ONE, weights)})}


def _work(tree: Tree, level: int, seconds: float) -> dict[str, int]:
    """Work of the nodes of a level in so many seconds, when the pool has been full for a while."""
    twin, _ = backlogged(tree, CHAT, FULL_S)
    before = work(twin)
    twin.run(FULL_S + seconds)
    after = work(twin)
    return {path[-1]: after[path] - before[path] for path in after if len(path) == level + 1}


def backlogged(
    tree: Tree, sizes: Sizes, seconds: float, window: int = 0, *, documents: int = 0
) -> tuple[Twin, dict[Node, int]]:
    """Run the tree with everyone backlogged; ``window`` is D in tokens. Returns the nodes' weights too."""
    classes = {
        name: ClassRule(
            name,
            weight=weight,
            organisations={inner: NodeRule(each) for inner, (each, _) in organisations.items()},
            limits=WIDE,
        )
        for name, (weight, organisations) in tree.items()
    }
    rules = policy(classes=classes, default=min(classes), locality_window=window * PRICE // 1000)
    roomy = {"h100": Engine(replace(STEP, room=ROOM))}
    twin = Twin(FairQueue(rules), roomy)
    people: dict[Person, int] = {}
    weights: dict[Node, int] = {}
    for name, (weight, organisations) in tree.items():
        weights[(name,)] = weight
        for inner, (each, persons) in organisations.items():
            weights[name, inner] = each
            for person, own in persons.items():
                weights[name, inner, person] = people[name, inner, person] = own
    Backlog(twin, people, sizes, documents=documents, seed=7)
    twin.run(seconds)
    return twin, weights
