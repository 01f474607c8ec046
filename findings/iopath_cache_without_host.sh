#!/usr/bin/env bash
# iopath 0.1.10, which detectron2's MODEL.WEIGHTS goes through: the file of a URL is kept in the cache by the URL's path alone.
# One would guess that another host is another file, and that what follows "?" belongs to the name. A second host that has
# something else under the same path gives the first one's file, in the same process and in the next; nothing is asked of it.
# So http://10.0.0.5:8000/model_final.pth and http://10.0.0.6:8000/model_final.pth are one model for good. Of a query, what
# follows its last slash is the whole name of the file: two models whose signed URLs end alike are then the same, too.
#
# Exit status 0: as described. Needs python3 and pip; writes only below a temporary folder, and serves on 127.0.0.1.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q iopath==0.1.10
cd "$work"
cat > fetch.py <<'PYTHON'
import os
import sys

from iopath.common.file_io import HTTPURLHandler, PathManager

manager = PathManager()
manager.register_handler(HTTPURLHandler())
for url in sys.argv[1:]:
    path = manager.get_local_path(url, cache_dir="cache")
    with open(path) as file:
        print(os.path.relpath(path, "cache"), file.read())
PYTHON
"$work/venv/bin/python" - <<'PYTHON'
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

asked = []


def server(name):
    """Gives its own name and what it was asked for."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((name, self.path))
            body = f"{name} {self.path.partition('?')[0]}".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{made.server_port}"


def fetched(*urls):
    """What a new process gets: file in the cache, host and path."""
    output = subprocess.run([sys.executable, "fetch.py", *urls], check=True, capture_output=True, text=True).stdout
    return [tuple(line.split()) for line in output.splitlines()]


one, two = server("one"), server("two")
print(f"iopath {version('iopath')}")
hosts = fetched(one + "/r50/model_final.pth", two + "/r50/model_final.pth") + fetched(two + "/r50/model_final.pth")
print("host one, host two, host two in another process:", hosts)
signed = fetched(one + "/a.pth?token=p/q", one + "/b.pth?token=r/q")
print("a.pth and b.pth with a query:", signed)
same = hosts == [("r50/model_final.pth", "one", "/r50/model_final.pth")] * 3 and signed == [("q", "one", "/a.pth")] * 2
sys.exit(0 if same and not [name for name, _ in asked if name == "two"] else "this is not what it was")
PYTHON
