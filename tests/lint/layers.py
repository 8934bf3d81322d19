"""A file of host/, sdk/common/ or sdk/tova/ includes only files that stand before it in layers.txt, which has every one of them.

layers.txt is one list: a line `folder/` and the files of that folder, in the order in which they may include each other; every file may
include all of the folders above. The files on top of host/ come last. System headers are free, but for some that are one folder's: see
ONLY_IN.
"""
import re
import sys
from pathlib import Path

LIST = Path(__file__).with_name("layers.txt")
INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)', re.M)
SDK = {"tova_plugin.h": {"common", "handler/plugin", "tova/runtime"}}
ONLY_IN = {re.compile(r"^event2?/|^event\.h$"): {"net"}, re.compile(r"^openssl/ssl"): {"tls"}}


def read_list(text):
    """[(folder, name), ...] in their order; the folder of what lies on top is "."."""
    folder, files = None, []
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if words and words[0].endswith("/"):
            folder, words = words[0].rstrip("/"), words[1:]
        files += [(folder, word) for word in words]
    return files


def files_of(root, *folders):
    """{name as it is included: path} of what lies below these folders of root."""
    return {path.relative_to(root).as_posix(): path for folder in folders for path in sorted((root / folder).rglob("*.[ch]"))}


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
            elif place.get(local, -1) >= place[name]:
                yield f"{path}: \"{local}\" does not stand before it"


def main():
    found = list(complaints(files_of(Path("sdk"), "common", "tova") | files_of(Path("host"), "."), read_list(LIST.read_text())))
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
