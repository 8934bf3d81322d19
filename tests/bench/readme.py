"""Puts what `make bench` and `make bench-workers` have left into README.md, between the lines that name them."""
import re
import sys

from harness import BUILD, ROOT

README = ROOT / "README.md"


def put(text, name, path):
    """Replaces what stands between <!-- NAME --> and <!-- /NAME -->."""
    block = f"<!-- {name} -->\n{path.read_text(encoding='utf-8').strip()}\n<!-- /{name} -->"
    text, n = re.subn(f"<!-- {name} -->\n.*?<!-- /{name} -->", lambda _: block, text, flags=re.DOTALL)
    if n != 1:
        sys.exit(f"README.md has no place for {name}")
    return text


def main():
    text = README.read_text(encoding="utf-8")
    for name, path in (("bench", BUILD / "bench/README-table.md"), ("bench-reload", BUILD / "bench/README-reload.md")):
        if path.exists():
            text = put(text, name, path)
            print(f"README.md: {name} from {path}")
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
