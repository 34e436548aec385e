"""A browser without a window: Debian's chromium, driven by selenium."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What has to be there, beside selenium.
_PROGRAMS = ("chromium", "chromedriver")


def missing() -> list[str]:
    """Say what is not installed."""
    found = [name for name in _PROGRAMS if shutil.which(name) is None]
    return found if find_spec("selenium") else [*found, "selenium"]


@contextmanager
def chromium(width: int = 1000, height: int = 1400) -> Iterator[Any]:
    """Start a browser; where there is none, skip the test, but not in CI."""
    if absent := missing():
        reason = f"not installed: {', '.join(absent)} (apt-get install chromium chromium-driver)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = str(shutil.which("chromium"))
    for argument in (
        "--headless=new",
        "--no-sandbox",  # root has none
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--disable-background-networking",
        f"--window-size={width},{height}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = Service(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield driver
    finally:
        driver.quit()


#: Gives, of each element with text of its own, what the text is, its size on the page and its
#: contrast by WCAG: colours with all opacities above them, on all that lies behind them.
CONTRASTS = """
const parse = c => c.match(/[\\d.]+/g).map(Number).concat(1).slice(0, 4);
const over = (a, b) => [0, 1, 2].map(i => a[i] * a[3] + b[i] * (1 - a[3])).concat(1);
const chain = e => { const out = []; for (; e; e = e.parentElement) out.unshift(e); return out; };
const light = c => { const l = c.slice(0, 3).map(v => v / 255).map(
    v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * l[0] + 0.7152 * l[1] + 0.0722 * l[2]; };
const found = [];
for (const e of document.querySelectorAll('.omezarr, .omezarr *')) {
    if (e.tagName === 'STYLE' || e.closest('details:not([open]) > :not(summary)')) continue;
    const text = [...e.childNodes].filter(n => n.nodeType === 3).map(n => n.data.trim()).join('');
    if (!text) continue;
    let behind = [255, 255, 255, 1], opacity = 1;
    for (const a of chain(e)) {
        const style = getComputedStyle(a);
        behind = over(parse(style.backgroundColor), behind);
        opacity *= Number(style.opacity);
    }
    const style = getComputedStyle(e);
    const ink = parse(e.namespaceURI.endsWith('svg') ? style.fill : style.color);
    const shown = over([...ink.slice(0, 3), ink[3] * opacity], behind);
    const [a, b] = [light(shown), light(behind)].sort((x, y) => y - x);
    const box = e.getBoundingClientRect();
    found.push({text, contrast: (a + 0.05) / (b + 0.05), width: box.width, height: box.height,
        left: box.left, right: box.right, size: parseFloat(style.fontSize)});
}
return found;
"""
