"""The report in a real browser."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from browser import Page, browser, find_chromium
from reports import of_a_known_model, specs, write_run

from lrtune.report.page import write_report

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(find_chromium() is None, reason="Chromium is not installed"),
]


@pytest.fixture(scope="module")
def page(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        opened.open(run / "report.html")
        opened.wait_for("document.documentElement.dataset.drawn !== undefined")
        yield opened


def test_the_charts_are_drawn_without_a_complaint_or_a_request(page: Page, run: Path) -> None:
    count = len(specs((run / "report.html").read_text()))
    assert page.evaluate("Number(document.documentElement.dataset.drawn)") == count
    assert page.evaluate("document.querySelectorAll('.panel svg .mark-symbol path').length") > 21
    assert page.complaints() == []
    outside = [url for url in page.requests() if not url.startswith(("file:", "data:", "blob:"))]
    assert outside == [] and len(page.requests()) >= 1


def test_the_name_of_a_study_cannot_run_as_a_script(page: Page) -> None:
    assert page.evaluate("document.querySelector('h1').textContent").endswith("<script>alert(1)</script>{{LIBRARY}}")
    assert not [event for event in page.events if event.get("method") == "Page.javascriptDialogOpening"]


def test_hovering_tells_the_trial(page: Page) -> None:
    box = page.evaluate(
        "(() => { const panel = document.getElementById('collapse-0'); panel.scrollIntoView({block: 'center'});"
        " const at = panel.querySelector('.mark-symbol path[aria-label]').getBoundingClientRect();"
        " return [at.x + at.width / 2, at.y + at.height / 2]; })()"
    )
    page.ask("Input.dispatchMouseEvent", type="mouseMoved", x=box[0] - 3, y=box[1] - 3)
    page.ask("Input.dispatchMouseEvent", type="mouseMoved", x=box[0], y=box[1])
    text = page.wait_for("document.querySelector('#vg-tooltip-element.visible')?.textContent")
    assert "trial" in text and "hidden 32" in text and "learning rate" in text


@pytest.mark.parametrize("width", [360, 800])
def test_the_page_fits_a_phone(page: Page, width: int) -> None:
    page.ask("Emulation.setDeviceMetricsOverride", width=width, height=740, deviceScaleFactor=1, mobile=True)
    page.wait_for(
        f"[...document.querySelectorAll('.panel svg')].every(s => s.getBoundingClientRect().right <= {width})"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.ask("Emulation.clearDeviceMetricsOverride")


def test_a_dark_page_has_light_text_in_its_charts(page: Page) -> None:
    page.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    page.wait_for("document.documentElement.dataset.theme === 'dark'")
    colour = "document.querySelector('#law-0 svg .mark-text.role-axis-label text')?.getAttribute('fill')"
    assert page.wait_for(f"{colour} === '#a3acb8' && {colour}") == "#a3acb8"
    page.ask("Emulation.setEmulatedMedia", features=[])
    page.wait_for("document.documentElement.dataset.theme === 'light'")
    assert page.complaints() == []


def test_a_dark_page_is_printed_light_and_nothing_of_it_is_cut(page: Page) -> None:
    page.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    page.wait_for("document.documentElement.dataset.theme === 'dark'")
    page.ask("Emulation.setDeviceMetricsOverride", width=700, height=990, deviceScaleFactor=1, mobile=False)
    page.ask("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    # The page must be ready when the event has been heard: the browser lays it out at once.
    page.evaluate("new Promise(go => { dispatchEvent(new Event('beforeprint')); setTimeout(go, 0); })")
    fills = "[...document.querySelectorAll('.panel svg .role-axis-label text')].map(text => text.getAttribute('fill'))"
    assert set(page.evaluate(fills)) == {"#5b6470"}
    assert page.evaluate("[...document.querySelectorAll('.panel')].every(panel => panel.dataset.theme === 'light')")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    rights = "[...document.querySelectorAll('.panel svg, td, th')].map(part => part.getBoundingClientRect().right)"
    assert max(page.evaluate(rights)) <= 700
    assert page.evaluate("getComputedStyle(document.querySelector('.wide')).overflowX") == "visible"
    assert len(page.ask("Page.printToPDF")["data"]) > 10_000

    page.ask("Emulation.clearDeviceMetricsOverride")
    page.ask("Emulation.setEmulatedMedia", media="", features=[])
    page.wait_for("document.documentElement.dataset.theme === 'light'")
    assert page.complaints() == []


def test_the_next_command_is_copied(page: Page) -> None:
    page.ask("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    page.ask("Page.bringToFront")
    at = page.evaluate(
        "(() => { const button = document.querySelector('.command button'); button.scrollIntoView({block: 'center'});"
        " const box = button.getBoundingClientRect(); return [box.x + 5, box.y + 5]; })()"
    )
    for kind in ("mousePressed", "mouseReleased"):
        page.ask("Input.dispatchMouseEvent", type=kind, x=at[0], y=at[1], button="left", clickCount=1)
    page.wait_for("document.querySelector('.command button').textContent !== 'Copy'")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("lrtune verify 128 --study ")


def test_names_of_published_rules_stand_apart(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", of_a_known_model())
    report = write_report(folder)
    with browser(tmp_path / "profile") as page:
        page.open(report)
        page.wait_for("document.documentElement.dataset.drawn !== undefined")
        boxes = page.evaluate(
            "[...document.querySelectorAll('#law-0 svg .mark-text.role-mark text')]"
            ".map(text => text.getBoundingClientRect()).map(box => [box.top, box.bottom, box.right])"
        )
        right = page.evaluate("document.querySelector('#law-0 svg').getBoundingClientRect().right")
    tops = sorted(boxes)
    assert len(tops) > 3
    assert all(above[1] <= below[0] + 1.5 for above, below in pairwise(tops))
    assert max(right for _, _, right in boxes) <= right
