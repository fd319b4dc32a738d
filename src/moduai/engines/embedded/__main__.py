"""Runs the child: ``python -m moduai.engines.embedded``."""

import sys

from .child import main

sys.exit(main())
