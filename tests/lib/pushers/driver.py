"""What tests ask of the Python client: a call a line, an answer a line. The first line says where to connect."""
import asyncio
import json
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "sdk/python"))

import tova  # noqa: E402


def judged(error):
    if isinstance(error, (tova.TovaError, ValueError, TypeError)):
        return {"error": str(error), "kind": type(error).__name__, "status": getattr(error, "status", None), "index": getattr(error, "index", None)}
    raise error


def data_of(call):
    """Bytes come as {"bytes": hex}."""
    for where in (call, *call.get("list", ())):
        if isinstance(where.get("data"), dict) and "bytes" in where["data"]:
            where["data"] = bytes.fromhex(where["data"]["bytes"])
    return call


def perform(h, call):
    name, call = call.pop("call"), data_of(call)
    if name == "parallel":
        return parallel(h, call["threads"], call["each"], call["room"])
    if name == "commands":
        return {"receivers": h.commands(call.pop("list"), **call)}
    if "conn" in call:
        call["ws"] = call.pop("conn")
    return {"receivers": getattr(h, name)(**call)}


def parallel(h, threads, each, room):
    """Each thread says so many things; how many were told, and to how many."""
    told, failed = [], []

    def run(thread):
        for i in range(each):
            try:
                told.append(h.broadcast_to(room, f"{thread}.{i}"))
            except tova.TovaError as error:
                failed.append(f"{thread}.{i}: {type(error).__name__}: {error}")

    running = [threading.Thread(target=run, args=(n,)) for n in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return {"calls": len(told), "receivers": sum(told), "failed": failed}


def tls_of(where):
    import ssl

    ca = where.pop("ca", None)
    return {"tls": ssl.create_default_context(cafile=ca)} if ca else {}


def main():
    where = json.loads(sys.stdin.readline())
    with tova.connect(where.pop("url"), **tls_of(where), **where) as h:
        for line in sys.stdin:
            try:
                answer = perform(h, json.loads(line))
            except Exception as error:
                answer = judged(error)
            print(json.dumps(answer), flush=True)


async def main_async():
    where = json.loads(sys.stdin.readline())
    async with tova.connect_async(where.pop("url"), **tls_of(where), **where) as h:
        for line in sys.stdin:
            call = json.loads(line)
            try:
                if call["call"] == "parallel":
                    said = await asyncio.gather(*(h.broadcast_to(call["room"], f"{n}.{i}") for n in range(call["threads"]) for i in range(call["each"])),
                                                return_exceptions=True)
                    answer = {"calls": len([n for n in said if isinstance(n, int)]), "receivers": sum(n for n in said if isinstance(n, int)),
                              "failed": [repr(n) for n in said if not isinstance(n, int)]}
                else:
                    name, call = call.pop("call"), data_of(call)
                    if "conn" in call:
                        call["ws"] = call.pop("conn")
                    items = [call.pop("list")] if name == "commands" else []
                    answer = {"receivers": await getattr(h, name)(*items, **call)}
            except Exception as error:
                answer = judged(error)
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main_async()) if "--async" in sys.argv else main()
