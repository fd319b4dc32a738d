"""The command line: what operators type.

Words: a *command* is the first word after ``modu``; some are *groups* with commands of their own. Rule:
only the module of the command that was asked for is imported, and ``modu --help`` imports none of them
and not even Typer, so the first answer comes at once. Every command has ``--help`` with examples, those
that show something have ``--json``; the exit status is 0 when it was done, 1 when it failed and 2 when
it was called wrongly.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Entry(NamedTuple):
    """Where a command lives (``module:attribute``, a Typer app) and its line in the help."""

    target: str
    help: str


COMMANDS = {
    "up": Entry("moduai.cli.up:app", "Start the service on this machine."),
    "reload": Entry("moduai.cli.reload:app", "Replace the service's processes without failing anybody."),
    "doctor": Entry("moduai.cli.doctor:app", "Look for what is wrong and say what to do."),
    "now": Entry("moduai.cli.now:app", "Show load, line, engines and errors of the running service."),
    "shares": Entry("moduai.cli.shares:app", "Show who runs and waits, and who was served how much."),
    "settings": Entry("moduai.cli.settings:app", "Show every setting, its value and where it came from."),
    "engine": Entry("moduai.cli.engine:app", "Add, list, show, drain and remove engines."),
    "knowledge": Entry("moduai.cli.knowledge:app", "Add, update, search and remove public documents."),
    "key": Entry("moduai.cli.key:app", "Create, list and revoke API keys."),
    "org": Entry("moduai.cli.org:app", "Create and list organisations, the owners of keys."),
    "person": Entry("moduai.cli.person:app", "List, add, change and delete people with an account."),
    "invite": Entry("moduai.cli.invite:app", "Let people in by links that work once."),
    "report": Entry("moduai.cli.report:app", "See and close what readers reported of answers."),
    "look": Entry("moduai.cli.look:app", "Read one person's text as staff: with a reason, for a time."),
    "switch": Entry("moduai.cli.switch:app", "Set the banner; stop and start a model or the service."),
    "policy": Entry("moduai.cli.policy:app", "See and change how the service is shared."),
    "quota": Entry("moduai.cli.quota:app", "Limit tokens for a day or a month: who may use how many."),
    "pack": Entry("moduai.cli.pack:app", "See, check, choose and begin country packs."),
    "strategy": Entry(
        "moduai.cli.strategy:app", "Read the country's plan as of any day, and compute with it."
    ),
    "plan": Entry("moduai.cli.plan:app", "Plan accelerators: waits, cost and energy with how many, where."),
    "audit": Entry("moduai.cli.audit:app", "See what staff did, and check that the log of it is whole."),
    "usage": Entry("moduai.cli.usage:app", "Show what was used, by whom, on what."),
    "backup": Entry("moduai.cli.backup:backup_app", "Write everything but the keyring to one file."),
    "restore": Entry("moduai.cli.backup:restore_app", "Bring a backup back."),
    "bundle": Entry("moduai.cli.bundle:app", "Gather all that an installation without a network needs."),
}
"""Command to its entry, in the order of the help."""

EXAMPLES = """\
  modu up                                  start, then open the address that it prints
  modu engine add http://10.0.0.5:8000     put an engine of your own behind it
  modu key create "data team"              give someone an API key
  modu invite create                       let someone in with an account
  modu usage --by model                    what was used
  modu doctor                              when something does not work
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if "_MODU_COMPLETE" in os.environ:
        everything()(prog_name="modu")
    if not words or words[0] in {"-h", "--help", "help"}:
        _print_help()
        raise SystemExit(0 if words else 2)
    if words[0] in {"-V", "--version", "version"}:
        from moduai import __version__  # noqa: PLC0415

        sys.stdout.write(f"modu {__version__}\n")
        raise SystemExit(0)
    name = words[0]
    if name not in COMMANDS:
        raise SystemExit(_unknown(name))
    from moduai.settings import SettingsError  # noqa: PLC0415

    try:
        command(name)(args=words[1:], prog_name=f"modu {name}")
    except SettingsError as error:
        sys.stderr.write(f"modu: {error}\n")
        raise SystemExit(1) from None


def command(name: str) -> Any:
    """The command's object, ready to be called with ``args``; imports its module."""
    from typer.main import get_command  # noqa: PLC0415

    module, attribute = COMMANDS[name].target.split(":")
    return get_command(getattr(import_module(module), attribute))


def everything() -> Any:
    """One group that holds all commands, for completion in a shell and for the reference page."""
    from typer import Typer  # noqa: PLC0415
    from typer.main import get_group  # noqa: PLC0415

    group = get_group(Typer(name="modu", add_completion=False))
    for name in COMMANDS:
        group.add_command(command(name), name)
    return group


def _print_help() -> None:
    width = max(map(len, COMMANDS))
    lines = "".join(f"  {name:<{width}}  {entry.help}\n" for name, entry in COMMANDS.items())
    sys.stdout.write(
        "Usage: modu COMMAND [OPTIONS]\n\nModu (모두): the public AI service in a box.\n\n"
        f"Commands:\n{lines}\nExamples:\n{EXAMPLES}\n"
        "Options:\n  --version  Show the version.\n  --help     Show this.\n\n"
        "`modu COMMAND --help` says more about a command.\n"
    )


def _unknown(name: str) -> int:
    from difflib import get_close_matches  # noqa: PLC0415

    near = get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean `modu {near[0]}`?" if near else "`modu --help` lists the commands"
    sys.stderr.write(f"modu: there is no command {name!r}; {hint}\n")
    return 2
