"""The dashboard page shows what the host does while it does it."""
import json

import pytest

from tova_host import wait_until
from wsclient import connect

AWAY = "WebSocket connection to"

# Pixels of a plot that have the colour of its first series.
INK = """
const canvas = [...document.querySelectorAll('figure')].find(f => f.querySelector('h2').textContent.startsWith(arguments[0])).querySelector('canvas');
const probe = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue('--one');
probe.fillRect(0, 0, 1, 1);
const [r, g, b] = probe.getImageData(0, 0, 1, 1).data;
const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
let n = 0;
for (let i = 0; i < data.length; i += 4)
    n += data[i + 3] > 200 && Math.abs(data[i] - r) + Math.abs(data[i + 1] - g) + Math.abs(data[i + 2] - b) < 40;
return n;
"""

PLOTS = ["Connections", "Messages a second", "Traffic a second", "Load average", "Memory", "Rooms", "Trouble"]


class Dashboard:
    def __init__(self, browse, host):
        self.page = browse(f"{host.url}/dashboard/")
        self.page.expect_console(AWAY)
        self.page.expect_console("willReadFrequently")  # advice to this test, which looks at the canvas
        self.page.wait_state("open")
        self.wait_samples(1)

    def samples(self):
        return self.page.js("samples.filter(Boolean).length")

    def wait_samples(self, more):
        goal = self.samples() + more
        wait_until(lambda: self.samples() >= goal, f"{more} more samples")

    def ink(self, plot):
        return self.page.js(INK, plot)

    def picture(self, plot):
        return self.page.js("""return [...document.querySelectorAll('figure')].find(f =>
            f.querySelector('h2').textContent.startsWith(arguments[0])).querySelector('canvas').toDataURL()""", plot)

    def tile(self, label):
        return self.page.js("""return [...document.querySelectorAll('#tiles div')].find(d =>
            d.querySelector('dt').textContent === arguments[0]).querySelector('dd').textContent""", label)

    def number(self, label):
        text = self.tile(label).replace(",", "")
        return int(text) if text.isdigit() else None

    def series(self, name):
        return self.page.text(f'[data-series="{name}"]')


@pytest.fixture
def dashboard(host, browse):
    return Dashboard(browse, host)


def test_plots_move(dashboard):
    before = {plot: dashboard.picture(plot) for plot in PLOTS}
    dashboard.wait_samples(3)
    for plot in PLOTS:
        wait_until(lambda: dashboard.picture(plot) != before[plot], f"the plot {plot!r} moves")
        wait_until(lambda: dashboard.ink(plot) > 10, f"the plot {plot!r} has a line")
    # Time goes on: a line that has one more second behind it is longer.
    short = dashboard.ink("Connections")
    wait_until(lambda: dashboard.ink("Connections") > short, "the line grows")


def test_values_are_those_of_the_machine(dashboard):
    with open("/proc/meminfo") as file:
        total = int(file.readline().split()[1]) * 1024
    newest = dashboard.page.js("newest()")
    assert newest["memory"]["total"] == total
    assert 0 < newest["memory"]["used"] < total
    assert len(newest["load"]) == 3 and all(0 <= load < 10000 for load in newest["load"])
    assert dashboard.series("memory").endswith("iB")
    assert abs(newest["time"] - dashboard.page.js("Date.now()")) < 60000
    wait_until(lambda: dashboard.number("Connections") == 1, "the page itself is one connection")


def test_counters_follow_what_happens(host, dashboard):
    wait_until(lambda: dashboard.number("Connections") == 1, "nobody else")
    rooms = dashboard.page.js("newest().host.rooms")
    with connect("127.0.0.1", host.port, "/chat") as one, connect("127.0.0.1", host.port, "/chat") as two:
        assert json.loads(one.recv_text())["text"] == "Welcome to the chat!"
        assert json.loads(two.recv_text())["text"] == "Welcome to the chat!"
        assert json.loads(one.recv_text())["text"] == "A new user joined"
        wait_until(lambda: dashboard.number("Connections") == 3, "two more connections")
        wait_until(lambda: dashboard.page.js("newest().host.rooms") == rooms + 1, "and their room")
        assert dashboard.series("connections") == "3"

        # The page asks nothing while it runs: what comes in is ours alone.
        messages, received = dashboard.number("Messages in, total"), dashboard.page.js("newest().host.bytes_in")
        for i in range(500):
            one.send_text(json.dumps({"type": "chat", "user": "counter", "text": f"message {i}"}))
        for _ in range(500):
            two.recv_text()
        wait_until(lambda: dashboard.number("Messages in, total") == messages + 500, "500 messages are counted")
        assert dashboard.number("Messages out, total") >= 500
        assert dashboard.page.js("newest().host.bytes_in") > received + 500 * 40
        peak = wait_until(lambda: dashboard.page.js("Math.max(...samples.map(s => s?.rate.messages_in ?? 0))"), "a rate is shown")
        assert 1 <= peak <= 1001  # counted over half a second at least
        one.end()
        assert json.loads(two.recv_text())["text"] == "A user left the chat"
        two.end()
    wait_until(lambda: dashboard.number("Connections") == 1, "both are gone again")
    wait_until(lambda: dashboard.page.js("newest().host.rooms") == rooms, "and so is their room")


def test_the_first_rate_is_none_of_what_the_page_has_cost(host, dashboard):
    """The page's own request, its upgrade and its first values came before the first update: no rate is made of them."""
    dashboard.wait_samples(4)
    rates = dashboard.page.js("samples.map(s => s.rate.messages_out)")
    assert rates[:2] == [None, None]
    # To one page an update each interval: what is counted first is what is counted later.
    wait_until(lambda: dashboard.page.js("samples.filter(s => s.rate.messages_out > 0).length >= 3"), "rates")
    first, *rest = dashboard.page.js("samples.map(s => s.rate.messages_out).filter(r => r !== null)")
    assert first <= 2.5 * max(rest)


def test_what_is_dropped_and_refused_is_shown(host, dashboard):
    wait_until(lambda: dashboard.number("Refused, total") == 0 and dashboard.number("Dropped, total") == 0, "nothing yet")
    for _ in range(3):
        with pytest.raises(Exception):
            connect("127.0.0.1", host.port, "/nowhere")
    wait_until(lambda: dashboard.number("Refused, total") == 3, "three clients were refused")
    wait_until(lambda: dashboard.page.js("Math.max(...samples.map(s => s?.rate.refused ?? 0))") > 0, "and so the plot says")


def test_a_line_at_zero_can_be_seen(dashboard):
    """Nobody reads slowly: the line of the first series lies at 0, which is not on the axis, and not below the others that lie there."""
    dashboard.wait_samples(4)
    wait_until(lambda: dashboard.ink("Trouble") > 40, "it is drawn")


def test_pause_and_resume(host, dashboard):
    dashboard.page.js("""window.heard = 0; const old = received; received = text => { heard++; old(text); };""")
    wait_until(lambda: dashboard.page.js("heard") >= 1, "updates come")
    with connect("127.0.0.1", host.port, "/dashboard") as other:
        assert json.loads(other.recv_text())["type"] == "init"
        dashboard.page.click("#pause")
        dashboard.page.wait_state("paused")
        # An update may have been under way; from the second that another client gets, none can be.
        for _ in range(2):
            assert json.loads(other.recv_text())["type"] == "update"
        heard, samples = dashboard.page.js("[heard, samples.length]")
        for _ in range(2):
            other.recv_text()
        assert dashboard.page.js("[heard, samples.length]") == [heard, samples], "a paused page is still sent updates"
        assert dashboard.page.js("gaps.map(g => [g.text, g.to === undefined])") == [["paused", True]]
    dashboard.page.click("#pause")
    dashboard.page.wait_state("open")
    wait_until(lambda: dashboard.page.js("heard") > heard, "updates come again")
    assert dashboard.page.js("gaps[0].to > gaps[0].from")


def test_a_restart_leaves_a_gap(host, dashboard):
    dashboard.wait_samples(2)
    host.stop()
    wait_until(lambda: dashboard.page.state in ("waiting", "connecting"), "the loss is seen")
    assert dashboard.page.find("#banner").is_displayed()
    wait_until(lambda: dashboard.page.text("#state") == "Offline", "the same word as in the chat")
    host.start()
    dashboard.page.wait_state("open")
    dashboard.wait_samples(3)
    assert dashboard.page.js("samples.filter(s => s === null).length") == 1, "the line is broken once"
    assert dashboard.page.js("gaps.map(g => g.text)") == ["no connection"]
    assert not dashboard.page.find("#banner").is_displayed()
    # Counters began again at the host; a rate must not be made of the difference.
    assert dashboard.page.js("samples.every(s => !s || Object.values(s.rate).every(r => r === null || r >= 0))")


def test_a_paused_page_stays_paused_over_a_restart(host, dashboard):
    dashboard.page.click("#pause")
    dashboard.page.wait_state("paused")
    host.stop()
    wait_until(lambda: dashboard.page.state in ("waiting", "connecting"), "the loss is seen")
    host.start()
    dashboard.page.wait_state("paused")
    samples = dashboard.samples()
    with connect("127.0.0.1", host.port, "/dashboard") as other:
        for _ in range(3):
            other.recv_text()
        assert dashboard.samples() == samples
    dashboard.page.click("#pause")
    dashboard.wait_samples(1)


def test_an_unknown_action_is_answered(dashboard):
    dashboard.page.js("link.send('explode');")
    wait_until(lambda: dashboard.page.find("#error").is_displayed(), "the answer is shown")
    assert dashboard.page.text("#error") == "Unknown action"
    dashboard.wait_samples(2)


def test_ranges_and_reading_the_past(dashboard):
    dashboard.wait_samples(3)
    dashboard.page.click("#ranges button:nth-child(3)")
    assert dashboard.page.js("range") == 900
    assert dashboard.page.js("[...document.querySelectorAll('#ranges button')].map(b => b.ariaPressed)") == ["false", "false", "true"]
    dashboard.page.click("#ranges button:nth-child(1)")
    # The pointer on the newest second of a plot names the time it reads.
    dashboard.page.js("""const c = document.querySelector('canvas'); const { left, width } = PLOTS[0].area;
        c.dispatchEvent(new PointerEvent('pointermove', { clientX: c.getBoundingClientRect().left + left + width - 2,
            clientY: c.getBoundingClientRect().top + 20 }));""")
    wait_until(lambda: dashboard.page.text("figure time"), "the time that is read")


def test_on_a_phone(host, browse):
    from conftest import PHONE
    page = browse(f"{host.url}/dashboard/", size=PHONE, dark=True)
    page.wait_state("open")
    assert page.js("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    small = page.js("""return [...document.querySelectorAll('button')].filter(e => e.offsetParent
        && (e.offsetHeight < 42 || e.offsetWidth < 44)).map(e => e.outerHTML)""")
    assert small == [], "too small for a finger"
    assert page.js("[...document.querySelectorAll('canvas')].every(c => c.getAttribute('role') === 'img' && c.getAttribute('aria-label'))")
