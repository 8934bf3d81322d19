"""Real hosts and real browsers for whole stories."""
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

from hub import Hub  # noqa: E402
from tova_host import BUILD, PATIENCE, Host, wait_until  # noqa: E402

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)

DESKTOP = (1280, 800)
PHONE = (390, 844)


def plugin(mount, name):
    return "--plugin", f"{mount}={BUILD / 'plugins' / name}.so"


@pytest.fixture
def hub(tmp_path):
    with Hub(tmp_path) as running:
        yield running


@pytest.fixture
def host():
    """Both examples, as the README starts them."""
    with Host("--static", "examples", *plugin("/chat", "chat"), *plugin("/dashboard", "dashboard")) as running:
        yield running


class Browser:
    """A Chromium process with a profile of its own."""

    def __init__(self):
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        self.profile = tempfile.mkdtemp(prefix="tova-browser-")
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for argument in (*ARGUMENTS, f"--user-data-dir={self.profile}"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        options.set_capability("acceptInsecureCerts", True)  # those of tests are signed by nobody
        try:
            self.driver = webdriver.Chrome(service=Service(DRIVER), options=options)
        except Exception:
            shutil.rmtree(self.profile, ignore_errors=True)
            raise
        self.driver.set_page_load_timeout(PATIENCE)
        self.driver.set_script_timeout(PATIENCE)

    def quit(self):
        try:
            self.driver.quit()
        finally:
            shutil.rmtree(self.profile, ignore_errors=True)


class Page:
    """The window of a browser that nobody else uses meanwhile, with waiting built in."""

    def __init__(self, browser, size=DESKTOP, dark=False):
        self.browser = browser
        self.driver = browser.driver
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE})
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {
            "features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]})
        self.driver.get_log("browser")  # what was said before is not about this page
        self.console = []
        self._expected = []

    def open(self, url):
        self.driver.get(url)
        return self

    def js(self, script, *args):
        """Value of an expression, or of a function's body with a return."""
        return self.driver.execute_script(script if "return" in script or ";" in script else "return " + script, *args)

    def find(self, selector):
        return self.driver.find_element("css selector", selector)

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def text(self, selector):
        return self.js("document.querySelector(arguments[0])?.textContent", selector)

    def texts(self, selector):
        return self.js("[...document.querySelectorAll(arguments[0])].map(e => e.textContent)", selector)

    def click(self, selector):
        self.find(selector).click()

    def type(self, selector, text):
        """Replaces what is in a field."""
        field = self.find(selector)
        field.send_keys("\ue009a\ue000")  # control and a
        field.send_keys(text)

    def wait(self, condition, what):
        return wait_until(condition, what + f" (state {self.state!r})")

    @property
    def state(self):
        return self.js("document.querySelector('#state')?.dataset.state")

    def wait_state(self, state):
        wait_until(lambda: self.state == state, f"state {state!r}, but it is {self.state!r}")

    def expect_console(self, part):
        """Console errors that contain this are no reason to fail."""
        self._expected.append(part)

    def console_errors(self):
        if self.driver is not None:
            self.console += self.driver.get_log("browser")
        return [line["message"] for line in self.console
                if line["level"] in ("SEVERE", "WARNING") and not any(part in line["message"] for part in self._expected)]

    def leave(self):
        """Goes elsewhere, as a person does who has seen enough. Returns the errors in the console."""
        if self.driver is not None:
            self.console_errors()
            self.driver.get("about:blank")
            self.driver = None
        return self.console_errors()

    def kill(self):
        """Ends its processes without a word to anybody."""
        self.browser.quit()
        self.browser = self.driver = None


@pytest.fixture(scope="session")
def idle_browsers():
    """Starting a browser takes longer than most stories: they are used again. Each test has hosts on ports of their own, so that
    nothing that a page has stored reaches the next one."""
    for program in (CHROMIUM, DRIVER):
        if shutil.which(program) is None:
            pytest.fail(f"{program} is missing: run make test-deps")
    idle = []
    yield idle
    with ExitStack() as stack:
        for browser in idle:
            stack.callback(browser.quit)


@pytest.fixture
def browse(idle_browsers):
    """browse(url, ...) opens another browser. At the end no console may hold an error. Tests ask for the host first, so that it
    is there until their browsers have left."""
    pages, errors = [], []

    def make(url, size=DESKTOP, dark=False):
        page = Page(idle_browsers.pop() if idle_browsers else Browser(), size, dark)
        pages.append(page)
        return page.open(url)

    def finish(page):
        try:
            errors.extend(page.leave())
        except Exception:
            page.browser.quit()  # whatever it is, the next test shall not inherit it
            raise
        if page.browser is not None:
            idle_browsers.append(page.browser)

    with ExitStack() as stack:
        yield make
        for page in pages:
            stack.callback(finish, page)
    assert not errors, f"errors in a browser's console: {errors}"
