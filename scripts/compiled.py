"""Translate the modules that decide and relay into machine code: ``make compiled``. Needs a C compiler and
Python's headers, and a minute or two; nothing is done where it was built from these sources already.
``--remove`` goes back to the sources. Why, and what the modules may not do: docs/decisions/0073.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from mypyc.build import mypycify
from setuptools import Distribution  # type: ignore[import-untyped]

from moduai.compiled import BUILT, MANIFEST, PACKAGE, digest, read

MODULES = (
    "engines/breaker.py",
    "engines/chunked.py",
    "engines/fleet.py",
    "engines/http.py",
    "engines/repeated.py",
    "gateway/ask.py",
    "gateway/connection.py",
    "gateway/exchange.py",
    "gateway/lane.py",
    "gateway/prefix.py",
    "gateway/relay.py",
    "gateway/settle.py",
    "gateway/stats.py",
    "gateway/tee.py",
    "scheduling/calibration.py",
    "scheduling/estimate.py",
    "scheduling/outlook.py",
    "scheduling/prefix.py",
    "scheduling/pressure.py",
    "scheduling/price.py",
    "scheduling/quantile.py",
    "scheduling/queue.py",
    "scheduling/replica.py",
    "scheduling/share.py",
    "scheduling/speed.py",
    "scheduling/ticket.py",
    "scheduling/tree.py",
    "scheduling/wait.py",
)
"""What costs time in each request, and nothing else."""
GROUP = "moduai"
FLAGS = "-O2 -ffp-contract=off -Wno-error"
"""No fused multiplication: sums are the same on every machine, and so are decisions."""


def main() -> int:
    """Build, or remove what was built."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--remove", action="store_true", help="go back to the sources")
    if parser.parse_args().remove:
        shutil.rmtree(BUILT, ignore_errors=True)
    elif is_built():
        print("The machine code is of these sources already.")
    else:
        began = time.monotonic()
        print(f"Compiling {len(MODULES)} modules; it takes a minute or two.", flush=True)
        build()
        print(f"Done in {time.monotonic() - began:.0f} s. The service uses it from its next start.")
    return 0


def is_built() -> bool:
    """Whether there is machine code of these sources and this list of them."""
    built = read()
    return built is not None and list(built.sources) == list(MODULES)


def build() -> None:
    """Compile all modules; what was there before stays until that has gone well."""
    sources = {source: digest(PACKAGE / source) for source in MODULES}
    with tempfile.TemporaryDirectory() as folder:
        files = compile_into(Path(folder))
        shutil.rmtree(BUILT, ignore_errors=True)
        BUILT.mkdir()
        for path in files.values():
            shutil.copy2(path, BUILT / path.name)
    manifest = {"sources": sources, "files": {name: path.name for name, path in files.items()}}
    MANIFEST.write_text(json.dumps(manifest, indent=1))


def compile_into(folder: Path) -> dict[str, Path]:
    """Compile in a folder; the files that were made, by the name of the module."""
    os.environ["CFLAGS"] = f"{os.environ.get('CFLAGS', '')} {FLAGS}"
    with contextlib.chdir(PACKAGE.parent):
        return _compile_into(folder)


def _compile_into(folder: Path) -> dict[str, Path]:
    extensions = mypycify(
        [f"{PACKAGE.name}/{source}" for source in MODULES],
        opt_level="2", debug_level="0", multi_file=True, target_dir=str(folder / "c"), group_name=GROUP,
    )  # fmt: skip
    distribution = Distribution({"ext_modules": extensions})
    command = distribution.get_command_obj("build_ext")
    command.build_lib, command.build_temp = str(folder / "lib"), str(folder / "temp")
    command.parallel = os.cpu_count()
    distribution.run_command("build_ext")
    return {each.name: folder / "lib" / command.get_ext_filename(each.name) for each in extensions}


if __name__ == "__main__":
    sys.exit(main())
