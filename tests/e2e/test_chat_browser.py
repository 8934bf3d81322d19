"""People talk to each other on the chat page, and the host goes away and comes back under them."""
import signal
from contextlib import closing
from types import SimpleNamespace

import pytest

from certificates import Certificates
from conftest import PHONE, plugin
from network import Network
from tova_host import Host, wait_until

# What a browser says about a connection that a stopped host has ended or does not accept.
AWAY = "WebSocket connection to"


class Person:
    def __init__(self, browse, host, name, room=None, **how):
        self.page = browse(f"{host.url}/chat/" + (f"#{room}" if room else ""), **how)
        self.page.expect_console(AWAY)
        self.name = name
        self.page.wait_state("open")
        self.page.type("#name", name + "\n")  # which is when a change is one
        self.wait_line("Welcome to the chat!")

    def say(self, text):
        self.page.type("#text", text + "\n")
        self.wait_message(text, who=self.name, own=True)

    def join(self, room):
        self.page.type("#room", room + "\n")
        self.wait_line(f"Joined room: {room}")

    def enter(self, room):
        """By the list of rooms."""
        before = self.lines().count(f"Joined room: {room}")
        self.page.click(f'nav [data-room="{room}"]')
        wait_until(lambda: self.room == room, f"{self.name} looks at {room}")
        wait_until(lambda: self.lines().count(f"Joined room: {room}") > before, f"{self.name} has joined {room}")

    @property
    def room(self):
        return self.page.js("document.querySelector('#rooms [aria-current]').dataset.room")

    def rooms(self, where="#rooms"):
        return self.page.js("return [...document.querySelectorAll(arguments[0] + ' [data-room]')].map(e => e.dataset.room)", where)

    def messages(self):
        return self.page.js("""return [...document.querySelectorAll('#log .message')].map(e => ({
            who: e.querySelector('.who b').textContent, text: e.querySelector('.text').textContent,
            own: e.classList.contains('own'), state: e.dataset.state}))""")

    def said(self):
        return [(m["who"], m["text"]) for m in self.messages()]

    def lines(self, kind="system"):
        return self.page.js("[...document.querySelectorAll('#log .line.' + arguments[0])].map(e => e.firstChild.data)", kind)

    def people(self):
        """As they are listed, and seen."""
        return self.page.js("""return [...document.querySelectorAll('#people li')].map(e => e.querySelector('.label').textContent +
            (e.querySelector('small').hidden ? "" : " " + e.querySelector('small').textContent))""")

    def wait_line(self, text, kind="system"):
        wait_until(lambda: text in self.lines(kind), f"{self.name} sees {text!r}")

    def wait_message(self, text, who, own=False, state=None):
        def there():
            return any(m["text"] == text and m["who"] == who and m["own"] == own and state in (None, m["state"])
                       for m in self.messages())
        wait_until(there, f"{self.name} sees {who}: {text!r} (state {state}), but only {self.messages()}")


@pytest.fixture
def ada(host, browse):
    return Person(browse, host, "Ada")


@pytest.fixture
def grace(host, browse, ada):
    person = Person(browse, host, "Grace")
    ada.wait_line("A new user joined")
    return person


@pytest.fixture
def secure(tmp_path):
    certs = Certificates(tmp_path).make("here", "localhost")
    with Host("--static", "examples", "--plugin", "/chat=chat", *certs.args("here")) as host:
        yield SimpleNamespace(url=f"https://localhost:{host.port}", host=host)


def test_over_tls(secure, browse):
    """A browser offers HTTP/2 for the page and resumes its session for the connection."""
    ada = Person(browse, secure, "Ada")
    grace = Person(browse, secure, "Grace")
    ada.say("Hello")
    grace.wait_message("Hello", who="Ada")
    assert ada.page.js("location.protocol") == "https:"
    assert not [line for line in secure.host.lines if line.get("kind") == "tls"]


def test_two_people_talk(ada, grace):
    ada.say("Hello")
    grace.wait_message("Hello", who="Ada")
    grace.say("Good morning, Ada")
    ada.wait_message("Good morning, Ada", who="Grace")
    # Nobody gets their own message back, and a newcomer is not told of himself.
    assert ada.said() == grace.said() == [("Ada", "Hello"), ("Grace", "Good morning, Ada")]
    assert "A new user joined" not in grace.lines()
    assert [m["state"] for m in ada.messages() if m["own"]] == ["sent"]


def test_who_is_there(host, browse, ada, grace):
    """One line for each, however many tabs somebody has; nothing moves on the others' pages when one of them is loaded again."""
    wait_until(lambda: ada.people() == ["Ada (you)", "Grace"] and grace.people() == ["Grace (you)", "Ada"], "both see both")
    tab = Person(browse, host, "Grace")
    wait_until(lambda: tab.people() == ["Grace (you)", "Ada"], "the tab sees both")
    assert ada.people() == ["Ada (you)", "Grace"]
    ada.page.js("""window.moved = []; new MutationObserver(all => moved.push(...all.map(one => one.target.id + one.addedNodes.length)))
        .observe(document.querySelector('#people'), { childList: true })""")
    tab.page.driver.get("about:blank")
    ada.say("Still there?")
    grace.page.driver.refresh()
    grace.wait_line("Welcome to the chat!")
    wait_until(lambda: grace.people() == ["Grace (you)", "Ada"], "her page sees both again")
    grace.say("Yes, I only reloaded")
    ada.wait_message("Yes, I only reloaded", who="Grace")
    assert ada.page.js("moved") == [] and ada.people() == ["Ada (you)", "Grace"]
    grace.join("tea")  # she has left, and nobody waits for her to come back
    wait_until(lambda: ada.people() == ["Ada (you)"] and grace.people() == ["Grace (you)"], "she is in tea")
    grace.page.type("#name", "Grace H.\n")
    wait_until(lambda: grace.people() == ["Grace H. (you)"], "she is somebody else now")
    ada.join("tea")
    wait_until(lambda: ada.people() == ["Ada (you)", "Grace H."] and grace.people() == ["Grace H. (you)", "Ada"], "both are in tea")
    grace.page.driver.get("about:blank")
    wait_until(lambda: ada.people() == ["Ada (you)"], "she has gone for good")


def test_text_stays_text(ada, grace):
    nasty = '<img src=x onerror="document.title=\'owned\'"> & "quotes" \\ ünïcödé 🎉'
    ada.page.js("document.querySelector('#text').value = arguments[0]; document.querySelector('#compose').requestSubmit();", nasty)
    grace.wait_message(nasty, who="Ada")
    assert grace.page.all("#log img") == []
    assert "owned" not in grace.page.driver.title


def test_rooms_are_apart(ada, grace):
    ada.join("tea")
    grace.say("Is anybody in general?")
    ada.say("Kettle is on")
    grace.join("tea")
    ada.say("Earl Grey?")
    grace.wait_message("Earl Grey?", who="Ada")
    # What was said in a room before one came is not heard, nor is general once one has left it.
    assert grace.said() == [("Ada", "Earl Grey?")]
    assert ada.said() == [("Ada", "Kettle is on"), ("Ada", "Earl Grey?")]
    grace.say("Yes please")
    ada.wait_message("Yes please", who="Grace")

    # Of the rooms that reach her, general is none any more; she can join it again.
    assert ada.rooms() == ["tea"] and ada.rooms("#earlier") == ["general"]

    # Back in general; what goes on in tea, where one still is, is counted there and does not show up here.
    ada.enter("general")
    assert ada.rooms() == ["general", "tea"] and ada.rooms("#earlier") == []
    grace.say("Milk?")
    wait_until(lambda: ada.page.text('#rooms [data-room="tea"] .unread') == "1 unread", "a message waits in tea")
    assert ("Grace", "Milk?") not in ada.said()
    ada.enter("tea")
    assert ada.said()[-1] == ("Grace", "Milk?")
    assert ada.page.text('#rooms [data-room="tea"] .unread') is None


def test_a_link_opens_a_room(host, browse, ada):
    ada.join("späte runde")
    guest = Person(browse, host, "Guest", room="sp%C3%A4te%20runde")
    guest.wait_line("Joined room: späte runde")
    guest.say("Found it")
    ada.wait_message("Found it", who="Guest")


def test_who_leaves_is_missed(ada, grace):
    driver = grace.page.driver
    driver.get("about:blank")
    ada.wait_line("A user left the chat")
    # On the way back the browser may show the very page again that it left, or load it anew: both connect.
    driver.back()
    wait_until(lambda: ada.lines().count("A new user joined") == 2, "Grace is back")
    grace.page.wait_state("open")
    grace.say("I only went to look something up")
    ada.wait_message("I only went to look something up", who="Grace")


def test_a_browser_that_is_killed_is_missed(ada, grace):
    grace.page.kill()
    ada.wait_line("A user left the chat")


def test_errors_are_shown(ada):
    ada.page.js("link.send({type: 'dance'});")
    ada.wait_line("Unknown message type", kind="error")
    ada.page.js("link.send({type: 'chat', user: 'Ada'});")
    wait_until(lambda: len(ada.lines("error")) == 2, "an answer to a message that lacks its text")
    ada.page.js("link.send('this is no object');")
    wait_until(lambda: len(ada.lines("error")) == 3, "an answer to what is no object")
    ada.say("Still here")
    assert ada.page.state == "open"


def test_a_restart_is_survived(host, ada, grace):
    ada.join("tea")
    grace.join("tea")
    host.stop()
    for person in (ada, grace):
        wait_until(lambda: person.page.state in ("waiting", "connecting"), f"{person.name} sees that the connection is lost")
        assert person.page.find("#banner").is_displayed()
        wait_until(lambda: person.page.text("#state") == "Offline", "one word for it, between two tries and during one")
        person.say(f"{person.name} is still here")
        assert person.messages()[-1]["state"] == "waiting"
    host.start()
    for person in (ada, grace):
        person.page.wait_state("open")
        person.wait_message(f"{person.name} is still here", who=person.name, own=True, state="sent")
        assert not person.page.find("#banner").is_displayed()
        assert person.room == "tea"
        wait_until(lambda: person.lines().count("Joined room: tea") == 2, f"{person.name} is in tea again")
    # Whoever came back last found the other one there already.
    wait_until(lambda: ("Grace", "Grace is still here") in ada.said() or ("Ada", "Ada is still here") in grace.said(),
               "a message that was written without a connection arrives")
    ada.say("Where were we?")
    grace.wait_message("Where were we?", who="Ada")
    # A message is sent once, whatever happened in between.
    for person in (ada, grace):
        assert len(person.said()) == len(set(person.said()))


def test_reconnecting_can_be_hurried(host, ada):
    host.stop()
    ada.page.js("Math.random = () => 1;")  # the longest wait of the library
    wait_until(lambda: ada.page.js("link.tries") >= 4 and ada.page.js("link.due - Date.now()") > 2000, "it tries again and again, and waits longer")
    host.start()
    ada.page.click("#retry")
    ada.page.wait_state("open")
    assert ada.page.js("link.tries") == 0


def test_what_may_be_lost_is_said(host, ada, grace):
    """A host that dies right after a message was handed over: nobody knows whether it was dealt with, so the person decides."""
    host.signal(signal.SIGSTOP)
    ada.page.js("document.querySelector('#text').value = 'Did that arrive?'; document.querySelector('#compose').requestSubmit();")
    ada.wait_message("Did that arrive?", who="Ada", own=True, state="sending")
    host.kill()
    host.start()
    for person in (ada, grace):
        person.page.wait_state("open")
        wait_until(lambda: person.lines().count("Welcome to the chat!") == 2, f"{person.name} is welcomed again")
    ada.wait_message("Did that arrive?", who="Ada", own=True, state="unsure")
    ada.page.click(".message[data-state=unsure] .note button")
    ada.wait_message("Did that arrive?", who="Ada", own=True, state="sent")
    grace.wait_message("Did that arrive?", who="Ada")


@pytest.fixture
def lossless():
    """As make run starts it."""
    with Host("--static", "examples", "--resume", "60s", "--history", "50/24h", *plugin("/chat", "chat")) as running:
        yield running


def test_who_comes_later_sees_what_was_said(lossless, browse):
    ada = Person(browse, lossless, "Ada")
    for n in range(60):
        ada.say(f"Message {n}")
    grace = Person(browse, lossless, "Grace")
    grace.wait_message("Message 59", who="Ada")
    assert grace.said() == [("Ada", f"Message {n}") for n in range(10, 60)], "the last 50, in their order, each once"
    assert "A new user joined" not in grace.lines() and "A user left the chat" not in grace.lines()
    ada.say("live")
    grace.wait_message("live", who="Ada")
    grace.page.driver.refresh()
    grace.page.wait_state("open")
    grace.wait_message("live", who="Ada")
    assert len(grace.said()) == 50
    ada.page.driver.refresh()  # and her own, as her own
    ada.wait_message("live", who="Ada", own=True, state="sent")


def test_who_is_typing_is_seen_and_not_remembered(lossless, browse):
    ada, grace = Person(browse, lossless, "Ada"), Person(browse, lossless, "Grace")
    ada.page.type("#text", "Hel")
    wait_until(lambda: grace.page.text("#typing") == "Ada is typing…", "Grace sees that Ada types")
    ada.say("Hello")
    grace.wait_message("Hello", who="Ada")
    wait_until(lambda: grace.page.text("#typing") == "", "and that she has done so")
    late = Person(browse, lossless, "Late")
    late.wait_message("Hello", who="Ada")
    assert late.page.text("#typing") == "" and late.said() == [("Ada", "Hello")]


def test_a_connection_that_breaks_costs_nobody_anything(lossless, browse):
    """The socket is cut, not the session: nobody is told that she left, and nothing is missing or comes twice."""
    with closing(Network(lossless.port)) as network:
        ada, grace = Person(browse, network, "Ada"), Person(browse, lossless, "Grace")
        ada.say("before")
        grace.wait_message("before", who="Ada")
        before = grace.lines()
        network.up = False
        network.cut()
        wait_until(lambda: ada.page.state in ("connecting", "waiting", "offline"), "she knows")
        grace.say("meanwhile")
        network.up = True
        ada.page.js("dispatchEvent(new Event('online'));")
        ada.wait_message("meanwhile", who="Grace")
        ada.say("after")
        grace.wait_message("after", who="Ada")
        assert grace.lines() == before
        assert ada.said() == grace.said() == [("Ada", "before"), ("Grace", "meanwhile"), ("Ada", "after")]


def test_on_a_phone(host, browse, ada):
    phone = Person(browse, host, "Phone", size=PHONE, dark=True)
    wait_until(lambda: phone.people() == ["Phone (you)", "Ada"], "it lists both")
    strip = phone.page.js("(({ top, bottom }) => ({ top, bottom }))(document.querySelector('#here').getBoundingClientRect())")
    assert 0 < strip["top"] < strip["bottom"] < strip["top"] + 60, "people are a strip below the rooms"
    for word in ("short", "long " * 60, "x" * 300):
        ada.say(word.strip())
        phone.wait_message(word.strip(), who="Ada")
    assert phone.page.js("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    assert phone.page.js("document.querySelector('#log').scrollWidth <= document.querySelector('#log').clientWidth")
    small = phone.page.js("""return [...document.querySelectorAll('button, input, textarea')].filter(e => e.offsetParent
        && (e.offsetHeight < 44 || e.offsetWidth < 44)).map(e => e.outerHTML)""")
    assert small == [], "too small for a finger"
    newest = phone.page.find("#log .message:last-child .text").rect
    field = phone.page.find("#text").rect
    assert newest["y"] + newest["height"] <= field["y"], "the newest message is hidden"
    assert phone.page.js("getComputedStyle(document.body).backgroundColor") != ada.page.js("getComputedStyle(document.body).backgroundColor")


def test_everything_has_a_name(ada):
    nameless = ada.page.js("""return [...document.querySelectorAll('button, input, textarea')].filter(e =>
        !e.labels?.length && !e.getAttribute('aria-label') && !e.textContent.trim()).map(e => e.outerHTML)""")
    assert nameless == []
    assert ada.page.js("document.querySelector('#log').getAttribute('aria-live')") == "polite"
    assert ada.page.js("document.querySelector('#state').getAttribute('aria-live')") == "polite"
