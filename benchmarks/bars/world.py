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


class Service(NamedTuple):
    """The service, and the engine behind it."""

    target: Target
    engine: str
    home: modu.Home


class World(NamedTuple):
    """The service and its resident."""

    service: Service
    resident: Resident
    place: Path
    """A folder for one bar."""

    @property
    def url(self) -> str:
        """The service's address."""
        return self.service.target.url


def world(bench: Bench, bar: str) -> World:
    """The service, which all bars of a run share, with a new resident who has ``CONVERSATIONS`` of one
    question each. The engine answers at once.
    """
    service = bench.shared(_service)
    behave(service.engine, Behaviour(text=ANSWER, chunks=200))
    person = resident.sign_in(service.home)
    for _ in range(CONVERSATIONS):
        resident.converse(service.target.url, person, 1)
    resident.wait_until_kept(service.home, person, CONVERSATIONS)
    return World(service, person, bench.place(bar))


@contextlib.contextmanager
def _service(bench: Bench) -> Iterator[Service]:
    place = bench.place("people")
    with process.engine_process(place / "engine.log", on=bench.beside) as engine:
        home = modu.prepare(place / "home", [engine])
        log = place / "modu.log"
        with modu.running_modu(home, log, on=bench.target, beside=bench.beside) as target:
            yield Service(target, engine, home)
