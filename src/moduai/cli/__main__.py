"""``python -m moduai.cli`` is ``modu``."""

from moduai.cli import main

main()
