"""What a critical reading of the host has found: each of these once went wrong."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

from conftest import IMPATIENT  # noqa: E402
from tova_host import BUILD, Host  # noqa: E402
from wsclient import connect  # noqa: E402

@pytest.mark.parametrize("before, after", [("script = \"cat\"", "plugin = \"echo\""), ("plugin = \"echo\"", "script = \"cat\""),
                                            ("plugin = \"echo\"", "worker = \"cat\""), ("worker = \"sleep 100\"", "script = \"cat\"")])
def test_a_reload_that_names_another_kind_of_handler(tmp_path, before, after):
    """It takes a restart; until then the old handler serves."""
    config = tmp_path / "config"
    text = "mount = ( {{ path = \"/\"; {}; }} );\n"
    config.write_text(text.format(before))
    with Host("--config", config, "--control", tmp_path / "control", *IMPATIENT, cwd=BUILD) as host:
        old = connect("127.0.0.1", host.port) if "sleep" not in before else None
        config.write_text(text.format(after))
        mark = host.reload()
        host.wait_log(lambda line: "restart" in line.get("message", ""), "it needs a restart", mark)
        for ws in [old, connect("127.0.0.1", host.port)] if old else []:
            ws.send_text("a")
            assert ws.recv_text() == "a"
            ws.drop()
