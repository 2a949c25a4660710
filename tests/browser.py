"""Opens a page in headless Chromium, at any width, and uses it."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

WATCH = "<head><script>window.faults = []; addEventListener('error', (e) => faults.push(String(e.message)));</script>"
USE = """<script>{
  const seen = {};
  const find = (selector) => document.querySelector(selector);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const text = (selector) => find(selector).textContent;
  const column = (table, cell) => all(`${table} tbody tr`).map((line) => line.cells[cell].textContent);
  const press = (selector, label) => all(selector).find((button) => button.textContent === label).click();
  const enter = (selector, value, kind) => {
    find(selector).value = value;
    find(selector).dispatchEvent(new Event(kind));
  };
  const key = (selector, name) => find(selector).dispatchEvent(new KeyboardEvent("keydown", { key: name }));
  /*USE*/
  seen.title = document.title;
  seen.width = window.innerWidth;
  seen.wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
  seen.images = document.images.length;
  seen.errors = window.faults;
  parent.postMessage(JSON.stringify(seen), "*");
}</script>
</body>"""
# No browser window is narrower than 500 pixels; a frame in it is as narrow as a phone.
HOST = """<!doctype html><title>host</title><iframe src="{page}" style="width: {width}px; height: 900px"></iframe>
<script>addEventListener("message", ({{ data }}) => {{
  document.body.append(Object.assign(document.createElement("pre"), {{ id: "seen", textContent: data }}));
}});</script>"""


def visit(page: Path, script: str, width: int, *, dark: bool = False) -> dict[str, object]:
    """Open a page at a width, run a script there, and return what it put into `seen`; skips without a browser.

    The script finds `find`, `all`, `text`, `column`, `press`, `enter` and `key` for its use. A fault in the page, and
    anything on the browser's console (a refused load among it), fails the test. `dark`: the user prefers a dark page.
    """
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium is installed")
    original = page.read_text(encoding="utf-8")
    watched = original.replace("<head>", WATCH, 1).replace("</body>", USE.replace("/*USE*/", script), 1)
    page.with_name("watched.html").write_text(watched, encoding="utf-8")
    host = page.with_name("host.html")
    host.write_text(HOST.format(page="watched.html", width=width), encoding="utf-8")
    command = [
        browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom",
        f"--user-data-dir={page.with_name('profile')}", f"--window-size={max(width, 500) + 40},960",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--virtual-time-budget=4000", host.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.S)
    assert found, console
    seen: dict[str, object] = json.loads(html.unescape(found[1]))
    assert seen["errors"] == []
    assert console == []
    assert seen["width"] == width
    return seen
