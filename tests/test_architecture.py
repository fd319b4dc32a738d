"""Rules about the code that no linter knows: what hot processes import, how long functions are."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "moduai"
LONGEST = 60
HEAVY = (
    "starlette",
    "jinja2",
    "typer",
    "rich",
    "alembic",
    "huggingface_hub",
    "pydantic",
    "httpx",
    "xllamacpp",
    "tantivy",
    "kiwipiepy",
)


def modules_after(module: str) -> set[str]:
    """Top-level packages that importing a module brings in, in a process of its own."""
    code = f"import sys, {module}; print(' '.join({{name.split('.')[0] for name in sys.modules}}))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(ran.stdout.split())


@pytest.mark.parametrize(
    "module", ["moduai.app", "moduai.metering.__main__", "moduai.supervisor", "moduai.knowledge.client"]
)
def test_hot_processes_do_not_import_what_they_do_not_need(module):
    assert not modules_after(module) & set(HEAVY)


def test_the_supervisor_does_not_hold_the_database_library():
    assert not modules_after("moduai.cli.up") & {"sqlalchemy", "alembic", "rich", "uvloop"}


def test_help_imports_not_even_typer():
    code = (
        "import sys, moduai.cli\n"
        "try: moduai.cli.main(['--help'])\n"
        "except SystemExit: print(*sys.modules, file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"typer", "asyncio", "moduai.cli.up"} & set(ran.stderr.split())


def functions():
    for folder in ("src", "benchmarks", "scripts"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield f"{file.relative_to(ROOT)}:{node.lineno} {node.name}", node


def test_functions_are_short():
    long = {}
    for where, node in functions():
        begins = node.body[0].lineno if node.body else node.lineno
        lines = (node.end_lineno or begins) - node.lineno + 1
        if lines > LONGEST:
            long[where] = lines
    assert not long


@pytest.mark.parametrize("package", sorted(path.parent.name for path in SOURCE.glob("*/__init__.py")))
def test_a_package_opens_with_what_it_is_for(package):
    told = ast.get_docstring(ast.parse((SOURCE / package / "__init__.py").read_text("utf-8")))
    assert told, f"moduai.{package} says nothing"
    assert len(told.split()) >= 20


def test_every_module_says_what_it_is():
    silent = [
        str(file.relative_to(SOURCE))
        for file in SOURCE.rglob("*.py")
        if "migrations" not in file.parts and not ast.get_docstring(ast.parse(file.read_text("utf-8")))
    ]
    assert not silent
