"""A file in host/ includes only files of its own folder and of the folders before it.

The files on top of host/ may include everything; nothing includes them but they themselves. System headers are free, but for
libevent's and OpenSSL's sockets, which only net/ uses.
"""
import re
import sys
from pathlib import Path

ORDER = ["base", "ws", "net", "hub", "handler", "ops"]
INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)', re.M)
SDK = {"tova_plugin.h": {"handler"}}
ONLY_IN = {re.compile(r"^event2?/|^event\.h$|^openssl/ssl"): "net"}


def complaints(path, text, root):
    """Every include of this file that the order forbids, in words."""
    folder = path.parent.relative_to(root).as_posix()
    if folder == ".":
        return
    if folder not in ORDER:
        yield f"{path}: the folder {folder} has no place in the order {', '.join(ORDER)}"
        return
    allowed = ORDER[:ORDER.index(folder) + 1]
    for local, system in INCLUDE.findall(text):
        if system:
            yield from (f"{path}: <{system}> is for {owner}/ only"
                        for pattern, owner in ONLY_IN.items() if pattern.search(system) and folder != owner)
        elif local in SDK:
            if folder not in SDK[local]:
                yield f"{path}: \"{local}\" is for {' and '.join(sorted(SDK[local]))} only"
        elif "/" not in local:
            yield f"{path}: \"{local}\" has to name its folder"
        elif local.split("/")[0] not in allowed:
            yield f"{path}: \"{local}\" lies above {folder}/"


def main(root):
    found = [c for path in sorted(root.rglob("*.[ch]")) for c in complaints(path, path.read_text(), root)]
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "host")))
