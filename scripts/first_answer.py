"""Takes the picture and the ``curl`` of the README: ``python -m scripts.first_answer``.

The whole service runs as people start it, in a home folder of its own, with the model that comes with
Modu; nothing is scripted but the question. The command, its answer and the ledger go to standard output,
to be pasted.
Needs Chromium, and the weights' terms accepted (``MODU_ACCEPT_TERMS=1``).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import ViewportSize, expect, sync_playwright

from moduai import service

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "screenshots" / "first-answer.png"
QUESTIONS = ("안녕하세요?", "대한민국의 수도는 어디인가요?")
SIZE = ViewportSize(width=880, height=740)
START_S, ANSWER_S = 60, 90
ENGINE_S = 15
"""Until the weights are loaded, on a slow machine too."""
LEDGER_S = 2
"""Until a request's row is in the database."""


def main() -> None:
    """Start the service, take the picture, ask by ``curl``, stop."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "modu"
        command = [sys.executable, "-m", "moduai.cli"]
        up = subprocess.Popen(  # noqa: S603  our own command
            [*command, "up", "--port", "0", "--home", str(home)],
            stdout=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )
        try:
            url = _address(home, up)
            key = subprocess.run(  # noqa: S603
                [*command, "key", "create", "readme", "--quiet", "--home", str(home)],
                capture_output=True,
                check=True,
                text=True,
            ).stdout.strip()
            time.sleep(ENGINE_S)
            _curl(url, key)
            time.sleep(LEDGER_S)
            subprocess.run([*command, "usage", "--home", str(home)], check=True)  # noqa: S603
            _picture(url)
        finally:
            up.terminate()
            up.wait(START_S)


def _address(home: Path, up: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and up.poll() is None:
        if (found := service.running(home)) and found.url:
            return found.url
        time.sleep(0.1)
    raise SystemExit("modu: the service did not start; the lines above say why")


def _curl(url: str, key: str) -> None:
    """Ask as the README says."""
    body = json.dumps(
        {"model": "gemma-3-270m", "messages": [{"role": "user", "content": QUESTIONS[-1]}]},
        ensure_ascii=False,
    )
    options = ["-H", f"Authorization: Bearer {key}", "-H", "Content-Type: application/json", "-d", body]
    answer = subprocess.run(  # noqa: S603
        [shutil.which("curl") or "curl", "-sSf", f"{url}/v1/chat/completions", *options],
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    shown = url.rpartition(":")[0] + ":8080"
    sys.stdout.write(
        f'$ curl {shown}/v1/chat/completions \\\n    -H "Authorization: Bearer $KEY" '
        f"-H 'Content-Type: application/json' \\\n    -d '{body}'\n{answer}\n"
    )


def _picture(url: str) -> None:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or "chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE, locale="ko-KR", device_scale_factor=2, color_scheme="light")
        page.goto(url)
        for question in QUESTIONS:
            page.locator("#question").fill(question)
            page.locator("#send").click()
            done = page.locator(".turn").last.locator(".meta")
            expect(done).not_to_be_empty(timeout=ANSWER_S * 1000)
        page.screenshot(path=PICTURE)
        browser.close()


if __name__ == "__main__":
    main()
