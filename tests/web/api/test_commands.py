"""Every operation has its command, and its command answers in JSON."""

from __future__ import annotations

import pytest

from moduai.cli import COMMANDS, command
from moduai.web.api.table import OPERATIONS


@pytest.mark.parametrize("words", sorted({operation.command for operation in OPERATIONS}))
def test_the_command_of_an_operation_is_there(words: str) -> None:
    group, _, name = words.partition(" ")
    assert group in COMMANDS
    found = command(group)
    if name:
        found = found.commands[name]
    assert any("--json" in parameter.opts for parameter in found.params)
