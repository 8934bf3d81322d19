"""The servers that are compared, and how each is started for which kind of row."""
import glob
import json
import os
import resource
from dataclasses import dataclass, field
from shutil import which

from harness import BUILD, ROOT, commit, output_of

PEERS, WORKERS = ROOT / "tests/bench/peers", ROOT / "tests/bench/workers"
FEW, SOME = 500, 5000  # a process for each connection; a poll over all of them for each event
NGINX = BUILD / "bench/nginx"  # unpacked there by make bench-deps


@dataclass
class Server:
    """commands: by kind of row (echo, room, tls, deflate) a list in which PORT stands for the port, or a function that makes it. A kind
    that is not there makes no sense with this server."""
    name: str
    commands: dict = field(default_factory=dict)
    missing: str = ""  # why it can not run
    version: str = ""
    forks: bool = False  # it has a process for each connection
    publisher: str = ""  # path of a room's publisher, where that is another one than the members'
    most_idle: int = 0  # so many idle connections, where more would take too long; 0: as many as the row says
    optional: bool = False  # only runs when it is asked for


def host(*handler, more=()):
    return [str(BUILD / "tova-host"), *handler, "-l", "127.0.0.1:PORT", "--drain", "0", *more]


def host_options():
    """TLS and compression, of which a host may know nothing yet."""
    known = output_of(str(BUILD / "tova-host"), "--help")
    echo = ("-p", str(BUILD / "plugins/echo.so"))
    found = {}
    if "--tls-cert" in known:
        found["tls"] = lambda port, folder: host(*echo, more=["--tls-cert", certificate()[0], "--tls-key", certificate()[1]])
    if "--deflate" in known:
        found["deflate"] = host(*echo, more=["--deflate"])
    return found


def certificate():
    """A certificate for itself and its key, made once."""
    cert, key = BUILD / "bench/tls.pem", BUILD / "bench/tls.key"
    if not cert.exists() or not key.exists():
        output_of("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(key),
                  "-out", str(cert), "-days", "365", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1")
    return str(cert), str(key)


def worker(echo, room):
    return {"echo": host("-w", echo), "room": host("-w", room)}


def host_servers():
    if not (BUILD / "tova-host").exists():
        return [Server("tova-host", missing="build it: make")]
    plugins = BUILD / "plugins"
    echo, relay = str(plugins / "echo.so"), str(plugins / "relay.so")
    version = f"{(output_of(str(BUILD / 'tova-host'), '--version').split() or [''])[-1]}, commit {commit()}"
    scripts = ["--script-rate", "100000", "--max-scripts", "3000"]
    node = which("node")
    return [
        Server("tova-host", {"echo": host("-p", echo), "room": host("-p", relay), **host_options()}, version=version),
        Server("2 loops", {"echo": host("-p", echo, more=["--threads", "2"]), "room": host("-p", relay, more=["--threads", "2"])},
               version=version, optional=True),
        Server("isolated", {"echo": host("--isolate", "-p", echo), "room": host("--isolate", "-p", relay)}, optional=True),
        Server("C worker", worker(f"exec {BUILD / 'bench/echo-worker'}", f"exec {BUILD / 'bench/relay-worker'}")),
        Server("Python worker", worker(f"exec /usr/bin/python3 -B {WORKERS / 'echo.py'}", f"exec /usr/bin/python3 -B {WORKERS / 'relay.py'}"),
               version=output_of("/usr/bin/python3", "--version").split()[-1]),
        Server("Node.js worker", {"echo": host("-w", f"exec {node} {WORKERS / 'echo.mjs'}")}, optional=True,
               missing="" if node else "make bench-deps"),
        Server("script", {"echo": host("-x", "exec cat", more=scripts), "room": host("-x", f"exec sh {WORKERS / 'relay.sh'}", more=scripts)},
               version="cat and sh", forks=True, most_idle=FEW),
    ]


def working_bun():
    """npm brings several builds; the first one that this CPU and C library can run is Bun."""
    for path in sorted(glob.glob(str(PEERS / "node_modules/@oven/*/bin/bun"))):
        version = output_of(path, "--version")
        if version:
            return path, version
    return None, ""


def script_server(name, program, script, version):
    if not program:
        return Server(name, missing="make bench-deps")
    start = [program, str(PEERS / script), "PORT"]
    return Server(name, {"echo": start, "room": start, "deflate": [*start, "deflate"],
                         "tls": lambda port, folder: [*start, "tls", *certificate()]}, version=version)


def nchan_command(port, folder):
    text = (PEERS / "nchan.conf").read_text(encoding="utf-8")
    descriptors = str(resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    for name, value in (("MODULES", str(NGINX / "usr/lib/nginx/modules")), ("USER", "user root;" if os.geteuid() == 0 else ""),
                        ("FOLDER", str(folder)), ("DESCRIPTORS", descriptors), ("PORT", str(port))):
        text = text.replace(name, value)
    (folder / "nginx.conf").write_text(text, encoding="utf-8")
    return [str(NGINX / "usr/sbin/nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]


def nchan():
    packages = {p.name.split("_")[0]: p.name.split("_")[1] for p in NGINX.glob("*.deb")}
    if len(packages) < 2:
        return Server("nchan", missing="make bench-deps")
    version = {name: text.replace("1%3a", "").split("+")[0].split("-")[0] for name, text in packages.items()}
    return Server("nchan", {"echo": nchan_command, "room": nchan_command}, publisher="/publish/bench",
                  version=f"{version['libnginx-mod-nchan']} in nginx {version['nginx']}")


def other_servers():
    bun, bun_version = working_bun()
    package, node = PEERS / "node_modules/ws/package.json", which("node")
    bare, lws = [str(BUILD / "bench/bare"), "PORT"], [str(BUILD / "bench/lws"), "PORT"]
    ws_version = f"{json.loads(package.read_text())['version']} on Node.js {output_of('node', '--version')}" if package.exists() else ""
    beside = ["websocketd", "--address=127.0.0.1", "--port=PORT", "--reverselookup=false", "--loglevel=error", "cat"]
    return [
        script_server("Bun", bun, "bun.js", bun_version),
        script_server("ws", node if ws_version else None, "ws.js", ws_version),
        Server("lws", {"echo": lws, "room": lws}, missing="" if (BUILD / "bench/lws").exists() else "make bench-deps",
               version=output_of("pkg-config", "--modversion", "libwebsockets").rstrip("-"), most_idle=SOME),
        Server("websocketd", {"echo": beside}, missing="" if which("websocketd") else "make bench-deps", forks=True,
               most_idle=FEW,
               version=output_of("dpkg-query", "-W", "-f", "${Version}", "websocketd").split("-")[0]),
        nchan(),
    ], Server("bare", {"echo": bare, "room": bare}, missing="" if (BUILD / "bench/bare").exists() else "build it: make bench")


def servers():
    others, bare = other_servers()
    return [bare, *host_servers(), *others]


def choose(names):
    """The servers of these names (None: all that are not optional): those that can run, and those that can not."""
    known = servers()
    wrong = set(names or ()) - {s.name for s in known}
    if wrong:
        raise SystemExit(f"no such server: {', '.join(sorted(wrong))}; there are: {', '.join(s.name for s in known)}")
    chosen = [s for s in known if (s.name in names if names else not s.optional)]
    return [s for s in chosen if not s.missing], [s for s in chosen if s.missing]
