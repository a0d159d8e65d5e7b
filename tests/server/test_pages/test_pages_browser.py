"""The pages in a real browser: what people see and click."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from wandb_ckpt.server.server import Server

from .conftest import Shelf, checkpoint

INSTALL = (
    "the pages are NOT tested in a browser: `apt-get install chromium chromium-driver` (and `pip install selenium`)"
)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
CHROMEDRIVER = shutil.which("chromedriver")
ARGUMENTS = (
    "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
)
MODEL = "/local/browse/artifacts/model/run_b1_model"
PAGES = ["/", "/local/browse", MODEL, f"{MODEL}/best", f"{MODEL}/compare?a=v0&b=best", "/local/browse/runs/b1"]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium with a fresh profile."""
    webdriver = pytest.importorskip("selenium.webdriver", reason=INSTALL)
    if CHROMIUM is None or CHROMEDRIVER is None:
        pytest.skip(INSTALL)
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (*ARGUMENTS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(CHROMEDRIVER))
    yield driver
    driver.quit()


class Browser:
    """What a person does with a browser."""

    def __init__(self, driver: Any, url: str) -> None:
        self.driver = driver
        self.url = url

    def open(self, path: str) -> None:
        """Type an address."""
        self.driver.get(self.url + path)

    def click(self, selector: str) -> None:
        """Click what a CSS selector finds first, as soon as it is there."""
        self.until(lambda driver: driver.find_element("css selector", selector).click() or True)

    def shows(self, selector: str, text: str) -> None:
        """Wait until that is written there: a click's page takes a moment."""
        self.until(lambda driver: driver.find_element("css selector", selector).text == text)

    def until(self, condition: Callable[[Any], Any]) -> None:
        """Wait for something that may be on the next page."""
        from selenium.common.exceptions import WebDriverException
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, 250, 0.05, [WebDriverException]).until(condition)

    def text(self, selector: str) -> str:
        """What is written there."""
        return str(self.driver.find_element("css selector", selector).text)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        return self.driver.execute_script(f"return {script}")

    def shape(self, width: int, scheme: str = "light") -> None:
        """Take another screen: its width, and the system's dark or light setting."""
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def complaints(self) -> list[str]:
        """What the browser wrote to its console since the last call."""
        return [line["message"] for line in self.driver.get_log("browser") if line["level"] in ("WARNING", "SEVERE")]


@pytest.fixture
def browser(driver: Any, pages_server: Server, shelf: Shelf) -> Browser:
    """A browser that is logged in, on a server with one model of a dozen versions."""
    if shelf.db.value("SELECT 1 FROM projects WHERE name = 'browse'") is None:
        _fill(shelf)
    driver.delete_all_cookies()
    browser = Browser(driver, pages_server.url)
    browser.shape(1200)
    browser.open("/login")
    driver.delete_all_cookies()
    browser.open(MODEL)
    driver.find_element("id", "key").send_keys(pages_server.api_key)
    browser.complaints()
    browser.click("button.main")
    browser.until(lambda driver: driver.find_element("css selector", ".logout"))
    return browser


def _fill(shelf: Shelf) -> None:
    run = shelf.run("browse", "b1", "quiet-dawn-8", config={"lr": {"value": 0.1}}, summary={"best_epoch": 8})
    model = shelf.collection("browse", "run_b1_model")
    description = "**text** and a table\n\n| log | value |\n|---|---:|\n| loss | 0.1 |\n\n" + "long" * 100
    for epoch, value in enumerate([0.9, 0.5, 0.4, None, 0.3, 0.31, 0.25, 0.22, 0.2, 0.21, 0.23, 0.24]):
        aliases = [
            f"epoch_{epoch}",
            *(["best"] if value == 0.2 else []),
            *(f"a{i}" for i in range(20 if epoch == 5 else 0)),
        ]
        metadata = checkpoint(epoch, value, 0.2, note="unbroken" * 30, nested={"a": [1, 2]})
        shelf.log(
            model, metadata, aliases, {"model.keras": b"x" * epoch, f"a/{'long' * 30}.bin": b"y"}, description, run
        )


def test_the_login_leads_to_the_wanted_page(browser: Browser) -> None:
    """After the key has been typed in, the page that was asked for first is there."""
    assert browser.run("location.pathname") == MODEL
    browser.shows("h1", "run_b1_model")
    assert browser.complaints() == []


def test_a_wrong_key_says_so_in_the_form(browser: Browser) -> None:
    """The message is there, and the form can be used again at once."""
    browser.click(".logout button")
    browser.until(lambda driver: driver.find_element("id", "key").send_keys("wrong") or True)
    browser.click("button.main")
    browser.until(lambda driver: "does not know this key" in driver.find_element("css selector", "[role=alert]").text)
    assert browser.run("document.activeElement.id") == "key"


def test_clicks_lead_from_projects_to_a_comparison(browser: Browser) -> None:
    """Projects, project, model, version, comparison and back: each by a click."""
    browser.open("/")
    browser.click("a[href='/local/browse']")
    browser.click(f"a[href='{MODEL}']")
    browser.click(".is-best .c-version a")
    browser.shows("h1", "run_b1_model:v8")
    browser.click(".steps a[href*=compare]")
    browser.shows("h1", "v7 and v8")
    browser.driver.find_element("name", "a").clear()
    browser.driver.find_element("name", "a").send_keys("v0")
    browser.click("button.main")
    browser.shows("h1", "v0 and v8")
    browser.click(".crumbs a:last-of-type")
    browser.shows("h1", "run_b1_model")
    assert browser.run("location.pathname") == MODEL
    assert browser.complaints() == []


def test_a_point_of_the_plot_leads_to_its_version(browser: Browser) -> None:
    """The plot's points are links."""
    browser.click(".plot.wide a[href$='/v4'] circle")
    browser.shows("h1", "run_b1_model:v4")


def test_the_copy_button_copies(browser: Browser) -> None:
    """One click has the command in the clipboard, and says so."""
    grants = {"origin": browser.url, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    browser.driver.execute_cdp_cmd("Browser.grantPermissions", grants)
    browser.click("button[data-copy=get-line]")
    browser.shows("button[data-copy=get-line]", "Copied")
    copied = browser.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0], arguments[0])")
    assert copied == "wandb artifact get local/browse/run_b1_model:best"


def test_without_javascript_there_is_no_dead_button(browser: Browser) -> None:
    """The lines can be selected by hand then; everything else works."""
    browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.open(MODEL)
        assert not browser.driver.find_element("css selector", "button[data-copy]").is_displayed()
        browser.click(".is-best .c-version a")
        browser.shows("h1", "run_b1_model:v8")
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("width", [320, 390, 1200])
def test_no_page_is_wider_than_the_screen(browser: Browser, path: str, width: int) -> None:
    """Wide tables scroll within themselves, on a phone too."""
    browser.shape(width)
    browser.open(path)
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.complaints() == []


def test_dark_and_light_follow_the_system(browser: Browser) -> None:
    """The page's background is dark or light as the system is."""
    brightness = {}
    for scheme in ("light", "dark"):
        browser.shape(1200, scheme)
        colour = browser.run("getComputedStyle(document.body).backgroundColor")
        brightness[scheme] = sum(map(int, re.findall(r"\d+", colour)[:3])) / 3
    assert brightness["light"] > 230
    assert brightness["dark"] < 40


def test_a_click_in_another_site_finds_the_session(browser: Browser) -> None:
    """A link in a notebook leads to the page, not to the login form, although the cookie is a strict one."""
    browser.driver.get(f"data:text/html,<a href='{browser.url}{MODEL}'>the run's model</a>")
    browser.click("a")
    browser.until(lambda driver: driver.find_element("css selector", ".versions").is_displayed())


def test_the_table_stays_a_table_for_screen_readers_on_a_phone(browser: Browser) -> None:
    """The phone's layout takes the table's display away, not its roles."""
    browser.shape(390)
    roles = browser.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    found = [node["role"]["value"] for node in roles if "role" in node]
    assert found.count("columnheader") == 7
    assert found.count("rowheader") == 12


def test_a_download_arrives_whole(browser: Browser, tmp_path: Path) -> None:
    """A click on a file saves it under its name."""
    behaviour = {"behavior": "allow", "downloadPath": str(tmp_path)}
    browser.driver.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
    browser.open(f"{MODEL}/v11")
    browser.click(".files a[href$='model.keras']")
    browser.until(lambda _: (tmp_path / "model.keras").exists())
    assert (tmp_path / "model.keras").read_bytes() == b"x" * 11


def test_every_text_stands_out_from_its_background() -> None:
    """Each pair of colours has the contrast of WCAG AA (4.5), in dark and in light."""
    css = files("wandb_ckpt.server.pages").joinpath("static/pages.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    assert len(blocks) == 2
    pairs = [
        (text, back) for text in ("text", "muted", "accent", "good", "bad") for back in ("page", "surface", "sunken")
    ]
    pairs += [("on-best", "best"), ("on-latest", "latest"), ("on-accent", "accent"), ("bad", "bad-surface")]
    for block in blocks:
        colours = dict(re.findall(r"--([\w-]+): (#\w{6})", block))
        for text, back in pairs:
            assert _contrast(colours[text], colours[back]) >= 4.5, (text, back, colours[text], colours[back])


def _contrast(a: str, b: str) -> float:
    darker, lighter = sorted((_luminance(a), _luminance(b)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
