"""Points that were measured on real accelerators: how long an output token took, under which load.

A point is a closed loop of ``batch`` clients: each asks again when its answer has ended. So as many prompts
are read as answers end, and the time per output token holds what the prompts of others cost.

Reading a published file, rules: a point without a stated number of clients is left out; the same point in
two files of the sample counts once; DeepSeek-V3 and -R1 are one model (the same shape, and partly the same
rows); where a row's devices are the product of those that share experts and those that divide them, they
were multiplied twice, and are what one of the two says.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from moduai.lined import near
from moduai.planner.devices import devices
from moduai.planner.models import Model, Precision, models

NAMES = {
    "meta-llama/Llama-3.1-8B-Instruct": "llama-3.1-8b",
    "nvidia/Llama-3.1-8B-Instruct-FP8": "llama-3.1-8b",
    "meta-llama/Llama-3.1-70B": "llama-3.1-70b",
    "Qwen/Qwen3-32B": "qwen3-32b",
    "Qwen/Qwen3-235B-A22B-FP8": "qwen3-235b-a22b",
    "Qwen/Qwen3.5-397B-A17B": "qwen3.5-397b-a17b",
    "deepseek-ai/DeepSeek-R1": "deepseek-r1",
    "deepseek-ai/DeepSeek-V3": "deepseek-r1",
    "moonshotai/Kimi-K2.5": "kimi-k2.5",
    "zhipuai/GLM-5": "glm-5",
    "MiniMaxAI/MiniMax-M2.5": "minimax-m2.5",
    "openai/gpt-oss-120b": "gpt-oss-120b",
}
PRECISIONS: dict[str, Precision] = {"": "bf16", "fp8": "fp8", "fp8_block": "fp8"}
MOST_DEVICES, MOST = 1024, 1e9
"""Of a replica; of any other number of a point."""
_CLIENTS = re.compile(r"silicon_concurrency=(\d+)")
_OWN_RUNS = "aic-auto-gap-analysis"
"""Rows of this source give their batch for one replica, and their devices once."""


class Point(Struct, frozen=True, kw_only=True):
    """One measurement."""

    name: str
    """Of the model, and below of the kind of device, as the tables call them."""
    model: Model
    device: str
    engine: str
    tp: int
    dp: int = 1
    batch: float
    tokens_in: float
    tokens_out: float
    tpot_s: float
    mixed: bool = True
    """Prompts are read by the same devices; False: by others."""

    def __post_init__(self) -> None:
        """The one check of a point, whoever reads it. Raises ValueError. Fails closed."""
        if not (1 <= self.tp <= MOST_DEVICES and 1 <= self.dp <= MOST_DEVICES):
            raise ValueError(f"a replica has 1 to {MOST_DEVICES} devices")
        if not all(0 < each < MOST for each in (self.batch, self.tokens_in, self.tokens_out, self.tpot_s)):
            raise ValueError(f"{', '.join(OWN[4:])} are above 0")
        if self.device not in devices():
            raise ValueError(f"there is no accelerator {self.device!r}; {near(self.device, list(devices()))}")

    @property
    def group(self) -> tuple[str, str, str]:
        """Model, system and engine."""
        return self.name, self.device, self.engine


OWN = ("model", "device", "engine", "tp", "batch", "tokens_in", "tokens_out", "tpot_ms")
"""Columns of an own table of points: keys of the planner's tables, the engine's software, devices of a
replica, clients at once, mean lengths, ms for each output token."""
MOST_FAULTS = 20


class PointsError(ValueError):
    """Points that cannot be used: a line for each fault, with its file and line."""


def read_points(where: Path) -> list[Point]:
    """All points of a CSV file, or of those in a folder. Raises PointsError: one fault, and none is used."""
    files = sorted(where.glob("*.csv")) if where.is_dir() else [where]
    if not files:
        raise PointsError(f"{where}: there is no CSV file in it")
    found: list[Point] = []
    faults: list[str] = []
    for file in files:
        try:
            with file.open(encoding="utf-8", newline="") as text:
                head = next(csv.reader(text), [])
            if "silicon_tpot_ms" in head:
                found += _silicon(file, faults)
            elif missing := [name for name in OWN if name not in head]:
                faults.append(f"{file}:1: columns are missing: {', '.join(missing)}")
            else:
                found += _read(file, _own, faults)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            faults.append(f"{file}: it cannot be read: {error}")
    if not found and not faults:
        faults.append(f"{where}: there is no point in it")
    if faults:
        raise PointsError("\n".join(faults[:MOST_FAULTS]))
    return found


def _read(file: Path, make: Callable[[dict[str, str]], Point | None], faults: list[str]) -> list[Point]:
    """Points of a table; what is wrong with a row is told with its line."""
    found = []
    with file.open(encoding="utf-8", newline="") as text:
        lines = csv.DictReader(text)
        for row in lines:
            try:
                point = make(row)
            except KeyError as error:
                faults.append(f"{file}:{lines.line_num}: {error} is missing or not known")
            except (TypeError, AttributeError):
                faults.append(f"{file}:{lines.line_num}: it has fewer columns than the first line")
            except ValueError as error:
                faults.append(f"{file}:{lines.line_num}: {error}")
            else:
                found += [point] if point else []
    return found


def _own(row: dict[str, str]) -> Point:
    """A row of an own table. Raises ValueError for what is wrong with it."""
    name = row["model"] or ""
    if name not in models():
        raise ValueError(f"there is no model {name!r}; {near(name, list(models()))}")
    try:
        tp = int(row["tp"])
        batch, read, wrote, tpot = (float(row[each]) for each in OWN[4:])
    except (TypeError, ValueError):
        raise ValueError(f"{', '.join(OWN[3:])} are numbers, tp a whole one") from None
    return Point(
        name=name, model=models()[name], device=row["device"] or "", engine=row["engine"] or "", tp=tp,
        batch=batch, tokens_in=read, tokens_out=wrote, tpot_s=tpot / 1e3,
    )  # fmt: skip


def _silicon(file: Path, faults: list[str]) -> list[Point]:
    """AIConfigurator's silicon sample: a table of runs on H100 and H200."""
    found: dict[tuple[object, ...], Point] = {}
    for point in _read(file, _point, faults):
        found.setdefault((*point.group, point.tokens_in, point.tokens_out, point.tpot_s), point)
    return list(found.values())


def _point(row: dict[str, str]) -> Point | None:
    name = NAMES.get(row["model_path"])
    clients = _CLIENTS.search(row["silicon_data_source"])
    mixed = row["mode"] == "agg"
    before = "" if mixed else "decode_"
    batch = _number(row, before + "batch_size", 0)
    if name is None or clients is None or not batch:
        return None
    own = _OWN_RUNS in row["silicon_data_source"]
    tp, dp = _layout(row, before, own=own)
    one_replica = mixed and not (own and batch != int(clients[1]))
    model = models()[name]
    if model.precision in {"bf16", "fp8"}:
        model = replace(model, precision=PRECISIONS[row["gemm_quant_mode"]])
    return Point(
        name=name,
        model=model,
        device=row["system"].removesuffix("_sxm"),
        engine=row["backend"],
        tp=tp,
        dp=dp,
        batch=int(clients[1]) if one_replica else batch,
        tokens_in=int(row["isl"]),
        tokens_out=int(row["osl"]),
        tpot_s=float(row["silicon_tpot_ms"]) / 1e3,
        mixed=mixed,
    )


def _layout(row: dict[str, str], before: str, *, own: bool) -> tuple[int, int]:
    """How many devices share the attention of a sequence, and how many such groups there are."""
    names = ("tp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size")
    tp, dp, expert_tp, ep = (_number(row, before + name, 1) for name in names)
    if not own and tp == expert_tp * ep and expert_tp == ep:
        tp = ep
    if dp > 8:
        dp = ep
    if dp == tp > 1:
        tp = 1
    return tp, dp if dp > 1 else max(1, expert_tp * ep // tp if expert_tp * ep <= 8 else 1)


def _number(row: dict[str, str], name: str, default: int) -> int:
    return int(row[name] or 0) or default
