"""What can be wrong with a guest, of each kind: the tests beside it fail then. Of a rollback, of timers, of being away and back."""
COMMANDS = {
    "c": ["cc guest_test.c -o guest_test $(pkg-config --cflags --libs tova-test)", "./guest_test"],
    "py": ["python3 -B check_guest.py"],
    "mjs": ["node guest_test.mjs"],
}
WRONG = {
    "c": [("me->said++;", "me->said += 2;"), ('message->len > 5 ? tova_fail(m, "too long") : 0', "0"), ('tova_cancel_timer(m, ws, "hint");', ""), ("30000", "30001"),
          ('ws, "away', 'TOVA_NONE, "away'), ("request->remote_addr", "request->path"), ("	.on_back = on_back,\n", "")],
    "py": [("or 0) + 1", "or 0) + 2"), ('        raise ValueError("too long")', "        pass"), ('    cancel_timer("hint", ws)\n', ""), ("30000", "30001"),
           ('({code})", exclude=ws', '({code})"'), ("ws.request.query", "ws.request.path"), ("def on_back(ws)", "def _on_back(ws)")],
    "mjs": [("?? 0) + 1", "?? 0) + 2"), ('throw new Error("too long")', "return"), ('		cancel_timer("hint", ws);\n', ""), ("30000", "30001"),
            ("(${code})`, ws", "(${code})`"), ("ws.request.query", "ws.request.path"), ("on_back(ws)", "is_back(ws)")],
}
