import guest
from tova.testing import Host

with Host(guest) as host:
    ann, bob = host.connect(), host.connect()
    ann.send("much too long")
    assert "too long" in ann.raised and not ann.state and host.quiet()
    ann.send("hi")
    assert bob.receive() == "1: hi"
    host.pass_time(30000)
    assert bob.receive() == "Say something!" and host.quiet()
    ann.away(1006)
    assert bob.receive() == "away (1006)"
    bob.send("ann?")
    assert ann.receive() == "1: ann?"
    ann.back(query="a=b")
    assert bob.receive() == "back with a=b" and host.quiet()
