from __future__ import annotations

import subprocess
import sys


def test_the_package_costs_nothing_until_a_page_is_asked_for() -> None:
    code = (
        "import sys, moduai.web; "
        "heavy = {'starlette', 'jinja2', 'babel', 'markdown_it', 'pygments', 'nh3'} & set(sys.modules); "
        "sys.exit(' '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
