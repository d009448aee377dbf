#!/usr/bin/env bash
# uvicorn 0.54.0 with zttp 0.0.35: a connection of HTTP/2 is called a flood at its 4,096th request, however slow.
#
# Seen: a client asks GET / on one connection, one request at a time or eight, each when one before it is
# answered. After 4,096 of them (eight at a time: 4,089 answers) the connection ends with GOAWAY and
# ENHANCE_YOUR_CALM (11); what is under way is lost. Pauses of a second and a half after each thousand change
# nothing. Nothing is written to the log, and no setting speaks of it. Clients of gRPC have one connection for
# all calls: a busy one (several calls at a time; one at a time went on) sees UNAVAILABLE.
# Expected: requests that are answered are no flood; or, if a connection is to end after so many, GOAWAY with
# NO_ERROR and what is under way is answered, as RFC 9113 (6.8) has it for a graceful end.
# Exits 0 while it is so, 1 if it has changed.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet uvicorn==0.54.0 zttp==0.0.35
cat >"$work/app.py" <<'PYTHON'
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})
PYTHON
cat >"$work/ask.py" <<'PYTHON'
import itertools
import socket
import struct
import subprocess
import sys
import time

HEADERS, SETTINGS, GOAWAY, END_STREAM = 1, 4, 7, 1
ASK = bytes([0x82, 0x84, 0x86, 0x41, 9]) + b"localhost"  # GET / of http://localhost


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def ask(port, requests, at_once, pause):
    """How many were answered, in how many seconds, and the code of a GOAWAY."""
    answered, buffer, streams = 0, b"", itertools.count(1, 2)
    with socket.create_connection(("127.0.0.1", port)) as there:
        there.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        there.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0))
        there.sendall(b"".join(frame(HEADERS, 5, next(streams), ASK) for _ in range(at_once)))
        began = time.monotonic()
        while answered < requests:
            buffer += (came := there.recv(1 << 16))
            if not came:
                return answered, time.monotonic() - began, "closed"
            new = b""
            while len(buffer) >= 9:
                length = int.from_bytes(buffer[:3], "big")
                if len(buffer) < 9 + length:
                    break
                kind, flags, payload = buffer[3], buffer[4], buffer[9 : 9 + length]
                buffer = buffer[9 + length :]
                if kind == SETTINGS and not flags:
                    new += frame(SETTINGS, 1, 0)
                elif kind == GOAWAY:
                    return answered, time.monotonic() - began, int.from_bytes(payload[4:8], "big")
                elif kind in (0, HEADERS) and flags & END_STREAM:
                    answered += 1
                    new += frame(HEADERS, 5, next(streams), ASK)
                    if pause and answered % 1000 == 0:
                        time.sleep(pause)
            there.sendall(new)
    return answered, time.monotonic() - began, None


port = int(sys.argv[1])
server = subprocess.Popen(
    [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port), "--http", "zttp", "--http2",
     "--log-level", "error", "--no-access-log"]
)
try:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.05)
    found = [ask(port, 6000, *way) for way in ((1, 0), (1, 1.5), (8, 0))]
    for answered, seconds, code in found:
        print(f"{answered} answered in {seconds:.1f} s, then GOAWAY {code}")
finally:
    server.terminate()
    server.wait()
sys.exit(0 if all(code == 11 and 4000 < answered <= 4096 for answered, _, code in found) else 1)
PYTHON
cd "$work"
port="$("$work/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
"$work/venv/bin/python" ask.py "$port"
