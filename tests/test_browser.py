"""The report in a real browser: Debian's Chromium, driven headless. Skipped where there is none."""

from __future__ import annotations

import json
import shutil
import time
from urllib.parse import urlencode

import lessons
import pytest
import runs

from gradbench.judge import judge
from gradbench.report import html, panel, words

webdriver = pytest.importorskip("selenium.webdriver")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of the driver's own sockets
]


@pytest.fixture(scope="module")
def browser():
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = CHROMIUM
    quiet = ("disable-background-networking", "disable-component-update", "disable-sync", "no-first-run")
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "window-size=1300,900", *quiet):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A report with every verdict."""
    run = runs.everything()
    verdicts = list(judge(run))
    path = tmp_path_factory.mktemp("report") / "index.html"
    path.write_text(html.render(run, verdicts), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def long_address(tmp_path_factory):
    """A report of thousands of rows."""
    run, verdicts = runs.many(3000)
    path = tmp_path_factory.mktemp("report") / "index.html"
    path.write_text(html.render(run, verdicts), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def visit(browser, address):
    """Opens a view of the report afresh; afterwards nothing may have gone wrong in the browser."""

    def go(view: str = "", page: str = address):
        browser.get("about:blank")
        browser.get(f"{page}#{view}")
        until(lambda: browser.execute_script("return document.documentElement.dataset.ready === 'yes'"))
        return browser

    browser.get_log("browser")
    browser.get_log("performance")
    yield go
    assert browser.get_log("browser") == []
    assert requests(browser) <= {"file", "about", "data"}


def requests(browser) -> set[str]:
    """The schemes of everything the browser asked for."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return {url.partition(":")[0] for url in asked}


def until(condition, seconds: float = 20.0):
    """Waits until something holds, and returns it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it never came to hold")


def all_of(browser, selector: str) -> list[str]:
    script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent.trim())"
    return browser.execute_script(script, selector)


def one(browser, selector: str):
    return browser.find_element("css selector", selector)


def column(browser, title: str) -> list[str]:
    """The cells of a column of the table of rows, as far as they are drawn."""
    titles = all_of(browser, "#rows .grid thead th")
    at = next(i for i, text in enumerate(titles) if text.startswith(title))
    script = "return [...document.querySelectorAll('#rows .grid tbody:not([aria-hidden]) tr')].map((r) => r.cells[arguments[0]].textContent.trim())"
    return browser.execute_script(script, at)


def hash_of(browser) -> str:
    return browser.execute_script("return location.hash")


def test_the_overview_opens_first_and_alone(visit):
    browser = visit()
    shown = "return [...document.querySelectorAll('main > section')].filter((s) => !s.hidden).map((s) => s.id)"
    assert browser.execute_script(shown) == ["overview"]
    assert "need a look" in one(browser, "h1").text
    assert one(browser, "nav [aria-current=page]").text == "Overview"


def test_a_link_of_the_overview_leads_to_the_rows_it_counts(visit):
    browser = visit()
    link = one(browser, ".totals tbody a[href*='verdict=error']")
    count = int(link.text)
    link.click()
    until(lambda: one(browser, "#rows .status").text.startswith(f"{count} of "))
    assert {text.split()[1] for text in column(browser, "Verdict")} == {"error"}


def test_filters_narrow_the_rows_and_stand_in_the_address(visit):
    browser = visit("view=rows")
    one(browser, "#search").send_keys("not-finite")
    until(lambda: "q=not-finite" in hash_of(browser))
    assert column(browser, "Case") == ["not-finite"]
    # The search keeps the focus, so that typing can go on.
    assert browser.switch_to.active_element.get_attribute("id") == "search"
    one(browser, "form.filters button").click()
    until(lambda: "q=" not in hash_of(browser))
    menu = next(m for m in browser.find_elements("css selector", ".menu") if m.text.startswith("Target"))
    menu.click()
    box = next(label for label in menu.find_elements("css selector", "label") if label.text.startswith("torch"))
    box.click()
    until(lambda: "target=torch" in hash_of(browser))
    assert set(column(browser, "Target")) == {"torch"}
    assert one(browser, ".menu summary.on").text.startswith("Target: torch")


def test_a_view_can_be_sent_as_a_link(visit):
    browser = visit("view=rows&target=jax&dtype=float32&sort=ulps&order=descending")
    assert set(column(browser, "Target")) == {"jax"}
    assert set(column(browser, "Dtype")) == {"float32"}
    assert one(browser, "th[aria-sort=descending]").text.startswith("Ulps")


def test_a_column_sorts_both_ways_and_says_so(visit):
    browser = visit("view=rows")
    header = next(th for th in browser.find_elements("css selector", "#rows thead th") if th.text.startswith("Ulps"))
    header.find_element("css selector", "button").click()
    assert header.get_attribute("aria-sort") == "descending"
    numbers = [float(text) for text in column(browser, "Ulps") if text]
    assert numbers == sorted(numbers, reverse=True)
    assert numbers
    header.find_element("css selector", "button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    # What has no number comes last either way.
    texts = column(browser, "Ulps")
    numbers = [float(text) for text in texts if text]
    assert numbers == sorted(numbers)
    assert texts[: len(numbers)] == [text for text in texts if text]


def test_failing_cases_come_first_and_agreeing_ones_are_folded(visit):
    browser = visit("view=cases")
    folded = all_of(browser, "#cases .grid tbody th")
    assert "parabola" not in folded
    assert folded[0] in {"wrong", "not-finite", "large"}
    one(browser, "#cases .toggle button").click()
    assert "parabola" in all_of(browser, "#cases .grid tbody th")
    assert "all=yes" in hash_of(browser)


def test_a_cell_opens_its_case_with_every_answer_beside_what_is_right(visit):
    browser = visit("view=cases")
    one(browser, "#cases a[href*='case=wrong'][href*='target=torch']").click()
    until(lambda: one(browser, "#case").is_displayed())
    assert one(browser, "#case h1").text == "wrong"
    assert one(browser, "#case math").is_displayed()
    table = one(browser, "#case .answers").text
    for text in ("right, by x", "ball", "torch", "jax", "-4", "wrong", "8σ + 4 ulp + 3r"):
        assert text in table
    assert browser.switch_to.active_element.tag_name == "h1"
    one(browser, "#case .calls summary").click()
    commands = all_of(browser, "#case .command code")
    expected = "gradbench run cases/quick.yaml --case wrong --target torch --operator gradient --dtype float64 --report reports/repro"
    assert expected in commands
    assert any("cbrt" in text for text in all_of(browser, "#case .calls td"))


def test_back_leads_to_where_one_was(visit):
    browser = visit("view=rows&verdict=fail")
    before = column(browser, "Case")
    one(browser, "#rows .grid tbody th a").click()
    until(lambda: one(browser, "#case").is_displayed())
    browser.back()
    until(lambda: one(browser, "#rows").is_displayed())
    assert column(browser, "Case") == before


def test_a_name_full_of_traps_is_text_and_nothing_else(visit):
    name = words.shown(runs.EVIL)
    browser = visit(urlencode({"case": name}))
    assert one(browser, "#case h1").text == name
    assert "<script>alert(1)</script>" in one(browser, "#case").text
    assert browser.execute_script("return document.querySelectorAll('#case script, #case i').length") == 0
    one(browser, "#case .answers details summary").click()
    assert "frame 8" in one(browser, "#case .answers pre").text


def test_a_case_that_is_not_there_says_so(visit):
    browser = visit("case=nowhere")
    assert "No such case" in one(browser, "#case").text


def test_a_large_array_shows_its_worst_entry(visit):
    browser = visit("case=large")
    assert "worst at [3, 4]: -7.0 where 1225.0 is right" in one(browser, "#case").text


def test_what_two_targets_disagree_about_is_listed(visit):
    browser = visit("view=agreement")
    one(browser, ".heat a[href*='pair=jax'][href*='pair=torch']").click()
    until(lambda: "They differ in 1 answers" in one(browser, "#pair").text)
    assert "wrong" in one(browser, "#pair table").text


def test_a_menu_closes_by_escape_and_gives_the_focus_back(visit):
    from selenium.webdriver.common.keys import Keys

    browser = visit("view=rows")
    summary = one(browser, ".menu summary")
    summary.send_keys(Keys.ENTER)
    assert one(browser, ".menu fieldset").is_displayed()
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not one(browser, ".menu fieldset").is_displayed()
    assert browser.switch_to.active_element == summary


def test_a_theme_can_be_chosen(visit):
    browser = visit()
    ground = "return getComputedStyle(document.documentElement).backgroundColor"
    button = one(browser, "#theme")
    button.click()
    light = browser.execute_script(ground)
    button.click()
    assert browser.execute_script(ground) != light
    assert button.text == "Theme: dark"
    button.click()
    assert button.text == "Theme: auto"


def test_thousands_of_rows_are_a_window_of_some_dozens(visit, long_address):
    browser = visit("view=rows", long_address)
    total = int(one(browser, "#rows table").get_attribute("aria-rowcount")) - 1
    assert total >= 3000
    drawn = "return document.querySelectorAll('#rows .grid tbody:not([aria-hidden]) tr').length"
    assert browser.execute_script(drawn) < 150
    browser.execute_script("const w = document.querySelector('#rows .window'); w.scrollTop = w.scrollHeight")
    last = "return Math.max(...[...document.querySelectorAll('#rows tr[aria-rowindex]')].map((r) => r.ariaRowIndex))"
    until(lambda: browser.execute_script(last) == total + 1)
    assert browser.execute_script(drawn) < 150
    # The last row stands where a scrolled window ends, not beyond or before it.
    gap = """const w = document.querySelector('#rows .window').getBoundingClientRect();
        const rows = [...document.querySelectorAll('#rows .grid tbody:not([aria-hidden]) tr')];
        return w.bottom - rows.at(-1).getBoundingClientRect().bottom"""
    assert abs(browser.execute_script(gap)) < 40


def test_a_narrow_screen_scrolls_its_tables_and_not_the_page(visit, browser):
    size = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        for view in (
            "view=overview",
            "view=cases",
            "view=rows",
            "view=agreement",
            "view=accuracy",
            "view=time",
            "case=wrong",
        ):
            visit(view)
            assert browser.execute_script("return document.documentElement.scrollWidth") <= 400, view
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.fixture(scope="module")
def explained(tmp_path_factory):
    """The folder of a report with one of its cases explained."""
    run = runs.everything()
    verdicts = list(judge(run))
    folder = tmp_path_factory.mktemp("explained")
    (folder / "index.html").write_text(html.render(run, verdicts), encoding="utf-8")
    panel.write(lessons.heard(lessons.of(lessons.OLAH.replace("olah-graph", "parabola"))), folder)
    return folder


def test_an_explanation_stands_in_its_case_and_links_to_its_page(visit, explained):
    browser = visit("case=parabola", (explained / "index.html").as_uri())
    assert one(browser, "#case svg.graph").is_displayed()
    assert "c = a + b" in all_of(browser, "#case svg.graph .name")
    assert "2 from c + 3 from d" in one(browser, "#case").text
    one(browser, "#case a[href='explain-parabola.html']").click()
    until(lambda: one(browser, "h1").text == "parabola")
    assert one(browser, "svg.graph").is_displayed()
    one(browser, "nav a").click()
    until(lambda: "#case=parabola" in browser.current_url)


def test_a_case_that_nobody_explained_has_no_panel(visit, explained):
    browser = visit("case=wrong", (explained / "index.html").as_uri())
    assert browser.execute_script("return document.querySelectorAll('#case svg.graph').length") == 0


def test_a_picture_scrolls_on_a_narrow_screen_and_not_the_page(visit, browser, explained):
    size = {"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        visit("case=parabola", (explained / "index.html").as_uri())
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
        browser.get((explained / "explain-parabola.html").as_uri())
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_what_a_page_can_not_list_is_counted_with_the_rest(visit, tmp_path, monkeypatch):
    small = html.data.Tables(12)
    monkeypatch.setattr(html.data, "Tables", lambda: small)
    run = runs.everything()
    path = tmp_path / "index.html"
    path.write_text(html.render(run, judge(run)), encoding="utf-8")
    browser = visit(urlencode({"view": "cases", "all": "yes"}), path.as_uri())
    assert "more than a page can list" in one(browser, "#overview .banner").get_attribute("textContent")
    titles = browser.execute_script("return [...document.querySelectorAll('#cases a.cell')].map((a) => a.title)")
    # Of the two arrays of this gradient the page lists the wrong one.
    assert "torch: 1 of 2 answers fail" in titles
    assert "jax: 2 of 2 answers pass" in titles
    assert not small.left.keys() & {("wrong", runs.TORCH.environment, 0)}
    browser = visit(urlencode({"view": "cases", "all": "yes", "dtype": "float64"}), path.as_uri())
    titles = browser.execute_script("return [...document.querySelectorAll('#cases a.cell')].map((a) => a.title)")
    assert "jax: 2 of 2 answers pass" not in titles, "what isn't listed has no number format to choose by"
    browser = visit(urlencode({"case": "wrong"}), path.as_uri())
    assert "3 of these answers are counted here and not listed" in one(browser, "#case").text
    assert "3 pass" in one(browser, "#case .chips").text
    browser = visit("view=rows", path.as_uri())
    assert "this page lists no more of them" in one(browser, "#rows").text
