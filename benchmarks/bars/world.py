"""What the bars of people start from: the service before a fake engine, and a resident who has used it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.bars import Bench
from benchmarks.harness import modu, process, resident
from benchmarks.harness.behaviour import Behaviour, behave
from benchmarks.harness.nginx import Target
from benchmarks.harness.resident import Resident

CONVERSATIONS = 20
"""What the resident has already: pages list conversations."""
ANSWER = """서울은 **대한민국**의 수도이고, 한강이 도시를 가로지릅니다.

## 알아 두면 좋은 것

1. 인구는 약 *930만 명*입니다.
2. 자치구는 `25`개입니다.
   - 가장 넓은 곳은 서초구입니다.
   - 가장 좁은 곳은 중구입니다.

| 구분 | 값 | 기준 |
|---|--:|---|
| 면적 (km²) | 605 | 2025 |
| 자치구 | 25 | 2025 |

```python
def greet(name: str, times: int = 1) -> list[str]:
    # 같은 인사를 여러 번 만든다
    return [f"안녕하세요, {name}님" for _ in range(times)]
```

> 더 자세한 것은 [서울특별시](https://www.seoul.go.kr)에서 볼 수 있습니다.

"""
"""What the engine writes: Markdown of every common kind."""


class World(NamedTuple):
    """The service and its resident."""

    target: Target
    engine: str
    home: modu.Home
    resident: Resident
    place: Path

    @property
    def url(self) -> str:
        """The service's address."""
        return self.target.url


@contextlib.contextmanager
def world(bench: Bench, bar: str, conversations: int = CONVERSATIONS) -> Iterator[World]:
    """The service with a resident who has asked so many questions, each in a conversation of its own."""
    place = bench.place(bar)
    with contextlib.ExitStack() as stack:
        engine = stack.enter_context(process.engine_process(place / "engine.log", on=bench.beside))
        behave(engine, Behaviour(text=ANSWER, chunks=200))
        home = modu.prepare(place / "home", [engine])
        log = place / "modu.log"
        target = stack.enter_context(modu.running_modu(home, log, on=bench.target, beside=bench.beside))
        person = resident.sign_in(home)
        for _ in range(conversations):
            resident.converse(target.url, person, 1)
        resident.wait_until_kept(home, person, conversations)
        yield World(target, engine, home, person, place)
