"""The fair tree of one pool: who is due next, at every level (class, organisation, person).

Words: a node is *backlogged* while something of it waits. Its *virtual time* ``vt`` is the cost that it
was served, divided by its weight; a branch's own ``virtual`` time is what its children start from. Rules
(start-time fair queueing, Goyal et al. 1996, at each level of a tree):

* **due**: among a branch's children that wait and are not at their cap, first those under their guarantee,
  then the one with the least ``vt``; of equals, the one that has waited longest.
* **start**: a node that begins to wait, or comes under its cap again, gets ``vt = max(vt, virtual)``:
  nothing is saved up while away or at a cap, and nobody is punished for coming back.
* **virtual time** only rises: at each dispatch to the least ``vt`` among those who wait, the dispatched one
  included; and, while no child waits, to the ``vt`` of a child that settles (there was room for everyone,
  so nobody owes anybody).
* **charge**: the estimate at dispatch, what is more while it runs, the rest at the end. What was charged too
  much lessens the next charge, so ``vt`` only rises while a node is backlogged; when it begins to wait again
  it is taken off before the rule of the start, so it is no gain over those who were away.
* **guarantee and cap** are in places (requests in flight), parts of the open capacity: under the guarantee
  is who with one more still has at most ``guarantee x capacity / 1000``; at the cap is who with one more had
  more than ``cap x capacity / 1000``, one place being always allowed. A person's cap is that of the class for
  each of its people: where it changes, it counts from the person's next start or end.
* **forgetting**: a node goes only when nothing of it waits or runs (so all is settled) and its parent's
  virtual time has reached its ``vt``, or nothing at all waits or runs below the parent.

**Bound.** Let two siblings both wait without a pause, with no guarantee, cap, avoided replica or reservation
among those who wait. Between any two moments of that time, what they are charged, divided by their weights,
differs by at most ``(c + x + k) / w`` of the one, plus that of the other, plus twice the locality window.
``c`` is a node's costliest charge, ``x`` the most that it was charged between two of its dispatches for what
already ran (estimates too low), ``k`` its largest credit (estimates too high). For: whoever goes has the
least ``vt`` but for the window, so neither ``vt`` is ever ahead of the other by more than ``(c + x) / w`` and
the window; and what is charged is ``vt`` less the credit. ``benchmarks/fairness_histories.py`` tests it.

Every pool has a tree of its own. Virtual times of pools under different load run at different rates; in one
common tree someone who always waits for a busy pool would lag behind all who come from an idle one, and hold
the busy one alone.
"""

# ruff: noqa: PLR1730, FURB136 - the hot path compares: a call of max() takes five times as long.

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush, heapreplace, nlargest
from itertools import islice
from typing import Any

from mypy_extensions import mypyc_attr

from moduai.scheduling.policy import ClassRule, Limits, NodeRule, Policy
from moduai.scheduling.ticket import ONE, Ticket
from moduai.scheduling.types import WHOLE

VT_ONE = 1_000_000_000
"""Virtual time of a cost of 1 at a weight of one thousandth; so no weight is off by more than 0.1 %."""
VT_COST = VT_ONE // ONE
"""Virtual time of a cost of 1 at weight 1."""
UNCAPPED = 1 << 62
NO_LIMITS = Limits(UNCAPPED, UNCAPPED, UNCAPPED)
SHARDS = 256
"""People stand in this many maps, so that none is so large that its growth stops everything."""
OWING = 16
"""Of each such map so many are kept at least that owe."""
SPARE = 64
"""Entries of a heap that may be of no more use, above one for each child that waits."""
TRIMMED = 16
"""Entries of a heap that are looked at when somebody leaves, while more than that are of no use: never all
at once, for that would stop everything.
"""
IDLE = 64
"""Idle children that a branch keeps while it is busy, for they often come back."""
FORGOTTEN_AT_ONCE = 2

Path = tuple[str, str, str]
Entry = tuple[int, int, "Node"]
"""Of a heap: vt, number, child."""


@mypyc_attr(acyclic=True)
class Node:
    """A person. Without the garbage collector's care: a million of them would stop it for long. So no
    circle may remain: ``tail`` is empty when nothing waits. In machine code a tree is never given back as
    long as its process lives (root and branches know each other): so a process makes one queue, or few.
    """

    __slots__ = (
        "ceiling", "credit", "idle", "key", "mark", "rate", "running", "tail", "up", "vt", "waiting",
    )  # fmt: skip

    key: Any
    """Its path; of a branch its name."""
    up: Branch
    """Whose child it is; the root is its own."""
    rate: int
    """Virtual time of a cost of 1: the inverse of its weight."""
    vt: int
    credit: int
    """Virtual time that it was charged too much: it lessens its next charge."""
    running: int
    waiting: int
    mark: int
    """Number of its one live entry in the parent's heap; 0: none, for it does not wait or is at its cap."""
    ceiling: int
    """The cap in places."""
    idle: bool
    """It stands among the parent's idle ones."""
    tail: Ticket | None
    """Last of its tickets; they form a ring, so ``tail.next`` is the first."""

    def __init__(self, key: Any, up: Branch, rate: int) -> None:
        self.key, self.up, self.rate = key, up, rate
        self.vt = self.credit = self.running = self.waiting = self.mark = 0
        self.ceiling = UNCAPPED
        self.idle = False
        self.tail = None


class Branch(Node):
    """A class or an organisation; or the root."""

    __slots__ = (
        "branches", "children", "each", "favoured", "floor", "heap", "idlers", "limits", "lines", "looked",
        "rule", "served", "trimmed", "virtual",
    )  # fmt: skip

    def __init__(self, key: str, up: Branch | None) -> None:
        super().__init__(key, self if up is None else up, VT_COST)
        self.virtual = 0
        self.heap: list[Entry] = []
        """Children, lazily: an entry whose number is not the child's mark is dead; one whose ``vt`` has risen
        since is put right when it comes to the top.
        """
        self.trimmed = 0
        """Where in the heap is looked next for what is of no more use."""
        self.lines = 0
        """Children with something waiting."""
        self.idlers: list[Node] = []
        """Children that are idle, or were."""
        self.looked = 0
        """Which of them is looked at next."""
        self.children = 0
        self.favoured: list[Branch] = []
        """Children that have a guarantee."""
        self.floor = 0
        """The guarantee in places."""
        self.each = UNCAPPED
        """The cap of each person below it, in places."""
        self.served = 0
        """Cost settled."""
        self.limits = NO_LIMITS
        """Of a class: most of it that may wait."""
        self.rule: ClassRule | NodeRule = NodeRule()
        self.branches: dict[str, Branch] = {}
        """Of the root the classes, of a class its organisations, by name."""


class Tree:
    """The counters and the waiting tickets of one pool."""

    __slots__ = ("_number", "_people", "capacity", "keeping", "lenders", "moved", "policy", "root")

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.capacity = 0
        """Places of the replicas that take requests of this pool."""
        self.root: Branch = Branch("", None)
        self.lenders: dict[Branch, None] = {}
        """Branches with idle children."""
        self.moved: dict[tuple[str, ...], int] = {}
        """Weights that are not those of the policy, by path: other cells serve these nodes too."""
        self.keeping = False
        """Nobody is forgotten: people are about to come back after a restart."""
        self._people: list[dict[Path, Node]] = [{} for _ in range(SHARDS)]
        self._number = 0

    # who

    def person(self, ticket: Ticket) -> Node:
        """The node of a ticket's person, made if it is not there."""
        path = ticket.path
        shard = self._people[hash(path) % SHARDS]
        node = shard.get(path)
        if node is None:
            above = self._organisation(path)
            above.children += 1
            node = shard[path] = Node(path, above, VT_ONE // ticket.weight)
        elif ticket.weight != ONE or node.rate != VT_COST:
            node.rate = VT_ONE // ticket.weight
        node.ceiling = node.up.each
        return node

    @property
    def known(self) -> int:
        """How many people are not forgotten."""
        return sum(map(len, self._people))

    def _organisation(self, path: Path) -> Branch:
        name, outer, _ = path
        above = self.root.branches.get(name)
        if above is None:
            above = self._branch(self.root, name, self._rule(name))
        found = above.branches.get(outer)
        return self._branch(above, outer, self._rule(name).rule(outer)) if found is None else found

    def _rule(self, name: str) -> ClassRule:
        """The rule of a class; one that the policy does not know (any more) is like any other."""
        return self.policy.classes.get(name) or ClassRule(name)

    def _branch(self, above: Branch, name: str, rule: NodeRule | ClassRule) -> Branch:
        branch = above.branches[name] = Branch(name, above)
        above.children += 1
        self._set_rule(branch, rule)
        return branch

    def _set_rule(self, branch: Branch, rule: NodeRule | ClassRule) -> None:
        branch.rule = rule
        self._weigh(branch)
        branch.floor = rule.guarantee * self.capacity // WHOLE
        branch.ceiling = self._places(rule.cap)
        branch.each = self._places(rule.person_cap) if isinstance(rule, ClassRule) else branch.up.each
        if branch.running >= branch.ceiling:
            branch.mark = 0
        if isinstance(rule, ClassRule):
            branch.limits = rule.limits
        favoured = branch.up.favoured
        if rule.guarantee and branch not in favoured:
            favoured.append(branch)
        elif not rule.guarantee and branch in favoured:
            favoured.remove(branch)
        self._wake(branch)

    def _places(self, cap: int) -> int:
        return UNCAPPED if cap >= WHOLE else max(1, cap * self.capacity // WHOLE)

    def set_rules(self, policy: Policy, capacity: int) -> None:
        """Another policy, or another capacity."""
        self.policy, self.capacity = policy, capacity
        for name, above in self.root.branches.items():
            rule = self._rule(name)
            self._set_rule(above, rule)
            for outer, branch in above.branches.items():
                self._set_rule(branch, rule.rule(outer))

    def move(self, moved: dict[tuple[str, ...], int]) -> None:
        """These weights for those of the policy from now on; what was charged stays as it is."""
        changed = [
            path for path in self.moved.keys() | moved.keys() if self.moved.get(path) != moved.get(path)
        ]
        self.moved = moved
        for path in changed:
            branch = self.root.branches.get(path[0])
            if branch is not None and len(path) > 1:
                branch = branch.branches.get(path[1])
            if branch is not None:
                self._weigh(branch)

    def _weigh(self, branch: Branch) -> None:
        path = (branch.key,) if branch.up is self.root else (branch.up.key, branch.key)
        branch.rate = VT_ONE // self.moved.get(path, branch.rule.weight)

    # waiting

    def push(self, ticket: Ticket, node: Node, *, front: bool) -> None:
        """A ticket begins to wait at the end (or the front) of its person's line."""
        tail = node.tail
        if tail is None:
            ticket.next = node.tail = ticket
        else:
            ticket.next, tail.next = tail.next, ticket
            if not front:
                node.tail = ticket
        ticket.node = node
        while not node.waiting and (up := node.up) is not node:
            up.lines += 1
            node.waiting = 1
            if node.running < node.ceiling:
                self._enter(up, node)
            node = up
        while (up := node.up) is not node:
            node.waiting += 1
            if not node.mark and node.running < node.ceiling:  # whoever else waits below it is at a cap
                self._enter(up, node)
            node = up
        node.waiting += 1

    def take(self, ticket: Ticket, cost: int) -> None:
        """A ticket that waited runs now, charged ``cost``."""
        node: Node = ticket.node
        node.ceiling = node.up.each
        if ticket.next is ticket:
            ticket.next = node.tail = None
        else:
            _unlink(node, ticket)
        while (up := node.up) is not node:
            heap = up.heap
            least, number, _ = heap[0]  # not above its own
            if up.virtual < least:
                up.virtual = least
            due = cost * node.rate
            if node.credit:
                paid = due if due < node.credit else node.credit
                node.credit -= paid
                due -= paid
            vt = node.vt = node.vt + due
            running = node.running = node.running + 1
            waiting = node.waiting = node.waiting - 1
            if waiting and running < node.ceiling:
                if number == node.mark:
                    heapreplace(heap, (vt, number, node))
            else:
                if number == node.mark:
                    heappop(heap)
                node.mark = 0
                if not waiting:
                    up.lines -= 1
            node = up
        node.running += 1
        node.waiting -= 1

    def leave(self, ticket: Ticket) -> None:
        """A ticket leaves the line without having run."""
        node: Node = ticket.node
        _unlink(node, ticket)
        while (up := node.up) is not node:
            node.waiting -= 1
            if not node.waiting:
                node.mark = 0
                up.lines -= 1
            node = up
        node.waiting -= 1
        self.release(ticket.node)

    def release(self, node: Node) -> None:
        """Drop what is idle of a node and those above it, and entries that are of no more use."""
        while (up := node.up) is not node:
            if len(up.heap) > up.lines + SPARE:
                _trim(up)
            if not (node.waiting or node.running or node.idle):
                self._rest(up, node)
            node = up

    def _enter(self, up: Branch, node: Node) -> None:
        """A node that waits may run, after it did not wait or was at its cap."""
        if node.credit:
            node.vt -= node.credit
            node.credit = 0
        if node.vt < up.virtual:
            node.vt = up.virtual
        self._number += 1
        node.mark = self._number
        heappush(up.heap, (node.vt, self._number, node))

    def _wake(self, branch: Branch) -> None:
        """It may be under its cap again, and so may be what is above it."""
        node: Node = branch
        while (up := node.up) is not node and node.waiting:
            if not node.mark and node.running < node.ceiling:
                self._enter(up, node)
            node = up

    # order

    def first(self) -> Ticket | None:
        """The first ticket of whoever is due; None if nobody who waits may run."""
        branch = root = self.root
        while True:
            child = self._due(branch)
            if isinstance(child, Branch):
                branch = child
            elif child is not None:
                return first(child)
            elif branch is root:
                return None
            else:  # all that is below it is at its cap
                branch.mark = 0
                branch = root

    def _due(self, branch: Branch) -> Node | None:
        """The child whose turn it is; None if none may run. Children at their cap are not in the heap."""
        if branch.favoured:
            for child in branch.favoured:
                if child.running < child.floor and child.mark:
                    return _under_guarantee(branch)[0]
        heap = branch.heap
        while heap:
            vt, number, node = heap[0]
            if node.mark != number:
                heappop(heap)
            elif vt == node.vt:
                return node
            else:
                heapreplace(heap, (node.vt, number, node))
        return None

    def in_order(self) -> Iterator[Ticket]:
        """The first ticket of everyone who may run, in fair order; nothing may change meanwhile."""
        for above in children(self.root):
            for branch in children(above):
                for node in children(branch):
                    yield first(node)

    def beside(self, due: Ticket, window: int, most: int) -> Iterator[Ticket]:
        """The first tickets of some others of the same organisation that may go within the window."""
        node: Node = due.node
        latest = node.vt + window
        for _, number, other in node.up.heap[1 : most + 1]:
            if other.mark == number and other.vt <= latest:
                yield first(other)

    def within(self, ticket: Ticket, due: Ticket, window: int) -> bool:
        """Whether a waiting ticket may go before the one that is due: at every level its ``vt`` is within the
        window of the least, it may run, and nobody under a guarantee is passed over.
        """
        node: Node = ticket.node
        lead: Node = due.node
        ahead: Node | None = lead
        branch = node.up
        least: Node | None = lead.up
        if branch.up is not lead.up.up:
            if not _close(branch.up, lead.up.up, window):
                return False
            least = self._due(branch.up)
        if branch is not lead.up:
            if branch is not least and not (isinstance(least, Branch) and _close(branch, least, window)):
                return False
            ahead = self._due(branch)
        return ahead is not None and node.mark > 0 and node.vt - ahead.vt <= window

    # cost

    def start(self, node: Node, cost: int) -> None:
        """Something of a node runs now, charged ``cost``, and nobody waits."""
        while (up := node.up) is not node:
            vt = node.vt
            if vt < up.virtual:
                vt = up.virtual
            else:
                up.virtual = vt
            due = cost * node.rate
            if node.credit:
                paid = min(node.credit, due)
                node.credit -= paid
                due -= paid
            node.vt = vt + due
            node.running += 1
            node = up
        node.running += 1

    def adopt(self, node: Node, cost: int) -> None:
        """Something of a node runs already, charged ``cost``, whether somebody waits or not."""
        while (up := node.up) is not node:
            node.vt = max(node.vt, up.virtual) + cost * node.rate
            node.running += 1
            if node.running >= node.ceiling:
                node.mark = 0
            node = up
        node.running += 1

    def charge(self, node: Node, cost: int) -> None:
        """Something of a node that runs is charged so much more."""
        while node.up is not node:
            node.vt += cost * node.rate
            node = node.up

    def end(self, node: Node, charged: int, cost: int) -> None:
        """Something of a node that was charged has ended, and costs so much."""
        node.ceiling = node.up.each
        more = cost - charged
        while (up := node.up) is not node:
            node.running -= 1
            up.served += cost
            if more > 0:
                node.vt += more * node.rate
            elif more:
                node.credit -= more * node.rate
            if node.waiting:
                if not node.mark and node.running < node.ceiling:
                    self._enter(up, node)
            else:
                if not up.waiting:
                    if node.credit:
                        node.vt -= node.credit
                        node.credit = 0
                    if up.virtual < node.vt:
                        up.virtual = node.vt
                if not (node.running or node.idle):
                    self._rest(up, node)
            node = up
        node.running -= 1

    # forgetting

    def _rest(self, up: Branch, node: Node) -> None:
        """A node is idle; of those that were before, two are looked at."""
        if node.credit:
            node.vt -= node.credit
            node.credit = 0
        node.idle = True
        idlers = up.idlers
        if not idlers:
            self.lenders[up] = None
        idlers.append(node)
        if len(idlers) > IDLE and not self.keeping:
            self._forget(up, FORGOTTEN_AT_ONCE)

    def _forget(self, up: Branch, most: int) -> int:
        """Look at ``most`` idle children in turn, forget who owes nothing; how many looks are left."""
        idlers = up.idlers
        quiet = not (up.running or up.waiting)
        looks = min(most, len(idlers))
        for _ in range(looks):
            at = up.looked if up.looked < len(idlers) else 0
            node = idlers[at]
            busy = node.running or node.waiting
            if not busy and node.vt > up.virtual and not quiet:
                up.looked = at + 1
                continue
            last = idlers.pop()
            if last is not node:
                idlers[at] = last
            node.idle = False
            if not busy and (not isinstance(node, Branch) or not (node.children or up is self.root)):
                self._drop(up, node)
        return most - looks

    def _drop(self, up: Branch, node: Node) -> None:
        if node.__class__ is Node:
            del self._people[hash(node.key) % SHARDS][node.key]
        else:
            del up.branches[node.key]
            if node in up.favoured:
                up.favoured.remove(node)
        node.mark = 0
        up.children -= 1

    def sweep(self, most: int) -> None:
        """Forget some of those who owe nothing any more; look at ``most`` at the most."""
        for up in list(islice(self.lenders, most)):
            del self.lenders[up]
            most = self._forget(up, most)
            if up.idlers:
                self.lenders[up] = None
            elif not (up.running or up.waiting or up.idle or up.up is up):
                self._rest(up.up, up)

    # what stands elsewhere

    def put_back(self, ahead: Iterable[tuple[tuple[str, ...], int]]) -> None:
        """Classes and organisations that are idle here come back no sooner than so much cost ahead."""
        for path, cost in ahead:
            if path[0] in self.policy.classes:
                node = self._at(path)
                if not (node.running or node.waiting):
                    node.vt = max(node.vt, node.up.virtual + cost * node.rate)
                self._rest_all(node)

    def _rest_all(self, node: Node) -> None:
        """What is idle of a node and those above it stands among the idle ones."""
        while node.up is not node and not (node.running or node.waiting or node.idle):
            self._rest(node.up, node)
            node = node.up

    # what outlives the process

    def owed(self, most: int) -> list[tuple[tuple[str, ...], int]]:
        """What nodes were charged ahead of their parent's virtual time: of those that owe most."""
        return nlargest(most, [each for some in self.owing(most) for each in some], key=_most_owing)

    def owing(self, most: int) -> Iterator[list[tuple[tuple[str, ...], int]]]:
        """The same in parts, each of a moment of its own: of each part of the people those that owe most."""
        found: list[tuple[tuple[str, ...], int]] = []
        for above in self.root.branches.values():
            found.append(((above.key,), _debt(above)))
            found.extend([((above.key, branch.key), _debt(branch)) for branch in above.branches.values()])
        yield nlargest(most, [each for each in found if each[1] > 0], key=_most_owing)
        share = max(most // SHARDS, OWING)
        for shard in self._people:
            people = [(node.key, _debt(node)) for node in shard.values()]
            yield nlargest(share, [each for each in people if each[1] > 0], key=_most_owing)

    def owe(self, owed: Iterable[tuple[tuple[str, ...], int]]) -> None:
        """Take back what was owed, but by nodes of classes that are gone, and those known already."""
        for path, debt in owed:
            if path[0] not in self.policy.classes:
                continue
            node = self._at(path)
            if not (node.vt or node.running or node.waiting):
                node.vt = node.up.virtual + debt
            self._rest_all(node)

    def _at(self, path: tuple[str, ...]) -> Node:
        if len(path) == 3:
            return self.person(Ticket(0, "", path, "", 0, 0, 0))
        above = self.root.branches.get(path[0]) or self._branch(self.root, path[0], self._rule(path[0]))
        if len(path) == 1:
            return above
        return above.branches.get(path[1]) or self._branch(above, path[1], self._rule(path[0]).rule(path[1]))


def _most_owing(owed: tuple[tuple[str, ...], int]) -> tuple[int, tuple[str, ...]]:
    return owed[1], owed[0]


def _debt(node: Node) -> int:
    return min(node.vt - node.credit - node.up.virtual, UNCAPPED)


def children(branch: Branch) -> Iterator[Any]:
    """Those who wait and may run, in fair order."""
    favoured = _under_guarantee(branch)
    yield from favoured
    heap = branch.heap
    todo = [(*heap[0], 0)] if heap else []
    while todo:
        vt, number, node, at = heappop(todo)
        if at < 0:
            yield node
            continue
        for below in (2 * at + 1, 2 * at + 2):
            if below < len(heap):
                heappush(todo, (*heap[below], below))
        if node.mark != number or node in favoured:
            continue
        if vt == node.vt:
            yield node
        else:
            heappush(todo, (node.vt, number, node, -1))


def _unlink(node: Node, ticket: Ticket) -> None:
    """Take a ticket out of its person's line."""
    tail: Any = node.tail
    before = tail
    while before.next is not ticket:
        before = before.next
    if before is ticket:
        node.tail = None
    else:
        before.next = ticket.next
        if tail is ticket:
            node.tail = before
    ticket.next = None


def _trim(branch: Branch) -> None:
    """Look at some entries of a heap, and take out what is of no more use."""
    heap = branch.heap
    for _ in range(TRIMMED):
        if heap[0][2].mark != heap[0][1]:
            heappop(heap)
        at = branch.trimmed = branch.trimmed - 1 if 0 < branch.trimmed < len(heap) else len(heap) - 1
        if heap[at][2].mark != heap[at][1]:
            _remove(heap, at)


def _remove(heap: list[Entry], at: int) -> None:
    """Take one entry out of a heap: the last one takes its place, and sinks or rises from there."""
    moved = heap.pop()
    if at == len(heap):
        return
    while (below := 2 * at + 1) < len(heap):
        if below + 1 < len(heap) and heap[below + 1] < heap[below]:
            below += 1
        if moved < heap[below]:
            break
        heap[at], at = heap[below], below
    while at and moved < heap[above := (at - 1) // 2]:
        heap[at], at = heap[above], above
    heap[at] = moved


def _under_guarantee(branch: Branch) -> list[Branch]:
    """Children that may run and are under their guarantee, in fair order."""
    found = [child for child in branch.favoured if child.running < child.floor and child.mark]
    if len(found) > 1:
        found.sort(key=_order)
    return found


def _close(branch: Branch, due: Branch, window: int) -> bool:
    """A branch may run, and may go before the one that is due among its siblings."""
    return branch.mark > 0 and branch.vt - due.vt <= window and due.running >= due.floor


def first(node: Node) -> Ticket:
    """The first ticket of a person who waits."""
    return node.tail.next  # type: ignore[union-attr, return-value]


def _order(node: Node) -> tuple[int, int]:
    return node.vt, node.mark
