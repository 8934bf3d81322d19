"""A server that speaks tova.v1 to browsers, from sdk/web/test: real sockets, which a test cuts, silences and closes as it likes.

    with WebHost() as host:
        page = browse(host.page())
        host.do(cut=None)
        host.sessions()
"""
import json
import subprocess
import urllib.parse
import urllib.request

from tova_host import PATIENCE, ROOT


class WebHost:
    def __enter__(self):
        self._process = subprocess.Popen(["node", ROOT / "sdk/web/test/serve.mjs"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.port = json.loads(self._process.stdout.readline())["port"]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        try:
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._process.stdout.close()

    def page(self, path="/chat", protocols=(), **options):
        """The address of a page that connects at once."""
        how = {"path": path, "protocols": list(protocols), "options": options}
        return f"{self.url}/?{urllib.parse.quote(json.dumps(how))}"

    def do(self, **orders):
        """See ORDERS in serve.mjs. Returns what has become of it all."""
        request = urllib.request.Request(f"{self.url}/do", json.dumps(orders).encode())
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    def sessions(self):
        return self.do()["sessions"]
