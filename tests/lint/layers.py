"""A file of host/ or sdk/ includes only files that stand before it in layers.txt, which has every one of them.

layers.txt is one list: a line `folder/` and the files of that folder, in the order in which they may include each other; every file may
include all of the folders above. Folders of the SDK are named as they are included: sdk/common/, which the host is built on, comes first,
and those that the host has nothing to do with come last. No file of the SDK includes one of the host. Of what lies on top of host/ the
folder is `./`. System headers are free, but for some that are for few folders: see ONLY_IN.
"""
import re
import sys
from pathlib import Path

LIST = Path(__file__).with_name("layers.txt")
INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)', re.M)
SDK = {"tova_plugin.h": {"test", "common", "handler/plugin", "tova/runtime", "c"}}
ONLY_IN = {re.compile(r"^event2?/|^event\.h$"): {"net"}, re.compile(r"^openssl/ssl"): {"tls"}, re.compile(r"^nng/"): {"c", "ctl"}}
# Programs of users, which see what is installed.
USERS = {"c/examples"}


def read_list(text):
    """[(folder, name), ...] in their order; the folder of what lies on top is "."."""
    folder, files = None, []
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if words and words[0].endswith("/"):
            folder, words = words[0].rstrip("/"), words[1:]
        files += [(folder, word) for word in words]
    return files


def files_of(root):
    """{name as it is included: path} of what lies below root."""
    return {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*.[ch]"))
            if path.name not in SDK and path.parent.relative_to(root).as_posix() not in USERS}


def complaints(have, files):
    """Every include that the order forbids, in words."""
    place = {f"{folder}/{name}" if folder != "." else name: at for at, (folder, name) in enumerate(files)}
    yield from (f"{LIST.name}: {name} is listed twice" for name in place if sum(name == (f"{a}/{b}" if a != "." else b) for a, b in files) > 1)
    yield from (f"{LIST.name}: there is no {name}" for name in place if name not in have)
    for name, path in have.items():
        if name not in place:
            yield f"{path}: it has no place in {LIST.name}"
            continue
        folder = Path(name).parent.as_posix()
        for local, system in INCLUDE.findall(path.read_text()):
            if system:
                yield from (f"{path}: <{system}> is for {' and '.join(sorted(owners))}/ only"
                            for pattern, owners in ONLY_IN.items() if pattern.search(system) and folder not in owners)
            elif local in SDK:
                if folder not in SDK[local]:
                    yield f"{path}: \"{local}\" is for {' and '.join(sorted(SDK[local]))} only"
            elif local not in have:
                yield f"{path}: \"{local}\" has to name its folder"
            elif path.parts[0] == "sdk" != have[local].parts[0]:
                yield f"{path}: \"{local}\" is the host's, which the SDK has nothing of"
            elif place.get(local, -1) >= place[name]:
                yield f"{path}: \"{local}\" does not stand before it"


def main():
    found = list(complaints(files_of(Path("sdk")) | files_of(Path("host")), read_list(LIST.read_text())))
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
