import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lib"))

STAGE = (ROOT / os.environ.get("TOVA_STAGE", "build/stage")).resolve()
PREFIX = STAGE / os.environ.get("TOVA_PREFIX", "/usr/local").lstrip("/")
