#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""An FTP server made of pyftpdlib: one JSON job as argument, then it serves.

{"root": DIR, "user": NAME, "password": TEXT, "listen": [[ADDRESS, PORT], ...],
 "passive": [LOW, HIGH] or null}
"""
import json
import logging
import sys

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.ioloop import IOLoop
from pyftpdlib.servers import FTPServer

job = json.loads(sys.argv[1])
logging.basicConfig(level=logging.DEBUG, format="%(asctime)s %(message)s")

authorizer = DummyAuthorizer()
authorizer.add_user(job["user"], job["password"], job["root"], perm="elradfmwMT")


class Handler(FTPHandler):
    # PORT and EPRT must name the address that the server sees, so a wrong
    # translation is refused and not followed.
    permit_foreign_addresses = False
    use_encoding = "utf-8"
    timeout = 300


Handler.authorizer = authorizer
if job["passive"]:
    Handler.passive_ports = range(job["passive"][0], job["passive"][1] + 1)

loop = IOLoop()
servers = [FTPServer((host, port), Handler, ioloop=loop) for host, port in job["listen"]]
print("listening", flush=True)
servers[0].serve_forever(handle_exit=False)
