from tova import broadcast_to, cancel_timer, join, serve, set_timer


def on_open(ws):
    join(ws, "lobby")
    set_timer("hint", 30000, ws=ws)


def on_message(ws, message):
    ws.state = (ws.state or 0) + 1
    cancel_timer("hint", ws)
    broadcast_to("lobby", f"{ws.state}: {message}", exclude=ws)
    if len(message) > 5:
        raise ValueError("too long")


def on_timer(name, id, ws):
    ws.send("Say something!")


def on_away(ws, code):
    broadcast_to("lobby", f"away ({code})", exclude=ws)


def on_back(ws):
    broadcast_to("lobby", f"back with {ws.request.query}", exclude=ws)


if __name__ == "__main__":
    serve(globals())
