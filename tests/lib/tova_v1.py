"""A client of tova.v1 (see sdk/web/TOVA-V1.md) on the raw client: it counts what it is sent and sends, and nothing comes back by itself.

    c = Client(host.port, "/chat")           # offers tova.v1, reads the welcome
    c.send("hello"); assert c.recv() == "hello"
    c.drop()                                 # the socket is gone, the session is away
    c.back()                                 # on a new one; what was not confirmed is sent again
"""
import json

from wsclient import CLOSE, TEXT, Closed, connect

MARK = "\1"


class Client:
    def __init__(self, port, target="/", *, subprotocols=(), host="127.0.0.1", **how):
        self.where = (host, port, target)
        self.subprotocols = tuple(subprotocols)
        self.how = how
        self.token = None
        self.received = 0  # data messages
        self.sent = []     # data messages, from number 1
        self.done = 0
        self.failed = []
        self.said = []     # control messages other than those above
        self.ws = None
        self.welcome = self.open()

    def open(self, offer=("tova.v1",)):
        self.ws = connect(*self.where, subprotocols=(*offer, *self.subprotocols), **self.how)
        welcome = self.control()
        self.token = welcome.get("session")
        return welcome

    def back(self, count=None, token=None):
        """Returns the welcome; what the host has not got is sent again."""
        count = self.received if count is None else count
        welcome = self.open(("tova.v1", f"tova.resume.{token or self.token}.{count}"))
        if welcome["resumed"]:
            self.received = count
            self.done = welcome["done"]
            for text in self.sent[welcome["got"]:]:
                self.put(text)
        self.welcome = welcome
        return welcome

    def put(self, message):
        if isinstance(message, bytes):
            self.ws.send_binary(message)
        else:
            self.ws.send_text(MARK + message if message.startswith(MARK) else message)

    def send(self, message):
        self.sent.append(message)
        self.put(message)

    def say(self, **control):
        self.ws.send_text(MARK + json.dumps(control))

    def control(self):
        """The next message, which must be a control message."""
        text = self.ws.recv_text()
        assert text.startswith(MARK) and not text.startswith(MARK * 2), text
        return json.loads(text[1:])

    def _heed(self, control):
        if "done" in control:
            assert control["done"] >= self.done
            self.done = control["done"]
            self.failed += [n for n in control.get("failed", []) if n not in self.failed]  # it is said again at a return
        else:
            if "lost" in control:
                assert control["next"] == self.received + control["lost"] + 1, control
                self.received = control["next"] - 1
            self.said.append(control)

    def next_message(self):
        """The next message: data, or None for one of control, which is heeded."""
        message = self.ws.recv_message()
        if message.opcode != TEXT:
            self.received += 1
            return message.data
        text = message.text
        if text.startswith(MARK) and not text.startswith(MARK * 2):
            self._heed(json.loads(text[1:]))
            return None
        self.received += 1
        return text[1:] if text.startswith(MARK) else text

    def recv(self):
        """The next data message; control messages before it are heeded."""
        while True:
            message = self.next_message()
            if message is not None:
                return message

    def until(self, condition):
        """Heeds control messages until that is so."""
        while not condition(self):
            self._heed(self.control())

    def confirm(self):
        self.say(got=self.received)

    def settled(self):
        """Everything that was sent."""
        self.until(lambda c: c.done == len(c.sent))

    def drop(self):
        """Without a word, as a network does."""
        self.ws.reset()

    def closed(self):
        """The code of the close frame that comes next, data before it passed over."""
        try:
            while True:
                f = self.ws.recv_frame()
                if f.opcode == CLOSE:
                    return int.from_bytes(f.payload[:2], "big") if f.payload else None
        except Closed:
            return 1006
