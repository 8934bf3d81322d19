"""The guard over instructions must see what grows, and count nothing but the host's own functions."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent / "instructions"))

import guard  # noqa: E402

DUMP = """desc: Trigger: Client Request: talk 10
ob=/b/conversation
fl=/src/host/net/conn.c
fn=conn_read
10 100
cob=/lib/libc.so.6
cfi=???
cfn=__memcpy_avx_unaligned_erms
calls=3 0
12 9000
fi=/src/host/ws/frame.h
+5 20
cfi=/src/host/hub/hub.c
cfn=hub_on_message
calls=2 7
* 7777
fl=/src/host/net/conn.c
fn=conn_read.part.0
30 7
fn=conn_end
40 1
cob=???
cfi=???
cfn=0x112580
calls=4 0
41 20
ob=???
fl=???
fn=0x112580
0 8
cob=/lib/libc.so.6
cfi=malloc.c
cfn=free
calls=4 0
0 12
ob=/lib/libc.so.6
fl=memcpy.S
fn=__memcpy_avx_unaligned_erms
1 500
ob=/b/conversation
fl=/src/tests/bench/instructions/conversation.c
fn=put
1 900
"""


def test_only_the_hosts_functions_are_counted(tmp_path):
    (tmp_path / "out.1").write_text(DUMP)
    profile = guard.read_dump(tmp_path / "out.1")
    assert (profile.name, profile.units) == ("talk", 10)
    assert profile.functions == {"conn_read": 127, "conn_end": 1}
    assert profile.calls == {"memcpy": 3, "free": 4}


def test_names_do_not_depend_on_the_cpu():
    assert {guard.plain(n) for n in ("__memmove_avx_unaligned_erms", "__memmove_evex_unaligned_erms", "memmove@@GLIBC_2.2.5")} == {"memmove"}
    assert guard.plain("__strlen_avx2") == guard.plain("__strlen_sse2") == "strlen"
    assert guard.plain("hub_apply.constprop.0") == guard.plain("hub_apply.cold") == "hub_apply"


def profile_of(instructions, calls):
    profile = guard.Profile("talk", 10)
    profile.functions.update(instructions)
    profile.calls.update(calls)
    return profile


@pytest.mark.parametrize("conn_read, sends, good", [(900, 10, True), (945, 10, True), (960, 10, False), (900, 12, False), (500, 5, True)])
def test_more_than_the_tolerance_fails(tmp_path, monkeypatch, capsys, conn_read, sends, good):
    monkeypatch.setattr(guard, "FIGURES", tmp_path)
    guard.write_figures(profile_of({"conn_read": 900, "hub_apply": 100}, {"send": 10}), "gcc")
    build, totals, parts = guard.read_figures("talk")
    assert (build, totals, parts["instructions"]) == ("gcc", {"instructions": 1000, "calls": 10}, {"conn_read": 900, "hub_apply": 100})
    assert guard.compare(profile_of({"conn_read": conn_read, "hub_apply": 100}, {"send": sends}), totals, parts) is good
    said = capsys.readouterr().out
    assert (f"{conn_read - 900:+}  conn_read" in said) == (conn_read > 950)
    assert ("better than the figure" in said) == (conn_read < 900)
