"""A host at which a test attaches workers of its own, to play them byte by byte (raw_worker.py), and what these say most."""
from control import stats
from raw_worker import RawWorker
from tova_host import IMPATIENT, Host
from wsclient import connect


class Hub:
    """A host at which workers may attach."""

    def __init__(self, directory, *args, url=None, **how):
        self.control = directory / "control"
        self.url = url or f"ipc://{directory}/attach"
        self.host = Host("--attach", self.url, "--control", self.control, *IMPATIENT, *args, **how)

    def worker(self, **hello):
        return RawWorker(self.url).hello(**hello)

    def client(self, path="/", **how):
        return connect("127.0.0.1", self.host.port, path, **how)

    def introduce(self, **hello):
        """The host knows from now on what workers want, but has none."""
        self.worker(**hello).bye()

    def stat(self, name):
        return stats(self.control)[name]

    def worker_log(self, text, after=0):
        return self.host.wait_log(lambda line: line.get("kind") == "worker" and
                                  (text in line.get("message", "") or text in line.get("error", "")), text, after)

    def __enter__(self):
        self.host.start()
        if self.url == "tcp://127.0.0.1:0":
            self.url = self.host.wait_log(lambda line: "url" in line, "the URL")["url"]
        return self

    def __exit__(self, *error):
        self.host.__exit__(*error)


def opened(hub, worker, path="/"):
    """A client whose open event was settled, and its id."""
    ws = hub.client(path)
    event = worker.expect("open")
    worker.ack(event)
    return ws, event["conn"]


def send(*data, **members):
    return {"c": "send", "data": "".join(data), **members}
