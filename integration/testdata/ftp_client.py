#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""An FTP client made of ftplib, for control over each verb.

Reads one JSON job from standard input and prints one JSON result:

job:    {"host", "port", "user", "password", "timeout", "source" (address or null),
         "sessions": [[{"mode", "op": "get"|"put", "remote", "local"}, ...], ...]}
result: {"ok": bool, "sessions": [{"error": text or null, "done": N, "log": [lines]}, ...]}

Each session is a control connection in a thread of its own and does its steps
in order; it stops at the first that fails. Mode is PORT, EPRT, PASV or EPSV
and is used whatever the family, and addresses in replies are believed.
"""
import ftplib
import json
import socket
import sys
import threading


class Client(ftplib.FTP):
    trust_server_pasv_ipv4_address = True
    mode = "PASV"

    def __init__(self, log):
        super().__init__()
        self.record = log

    def putline(self, line):
        self.record.append("> " + line)
        super().putline(line)

    def getline(self):
        line = super().getline()
        self.record.append("< " + line)
        return line

    def use(self, mode):
        self.mode = mode
        self.set_pasv(mode in ("PASV", "EPSV"))

    def makepasv(self):
        if self.mode == "EPSV":
            return ftplib.parse229(self.sendcmd("EPSV"), self.sock.getpeername())
        return ftplib.parse227(self.sendcmd("PASV"))

    def sendport(self, host, port):
        if self.mode == "EPRT":
            return self.sendeprt(host, port)
        return super().sendport(host, port)


def step(ftp, s):
    ftp.use(s["mode"])
    if s["op"] == "put":
        with open(s["local"], "rb") as f:
            ftp.storbinary("STOR " + s["remote"], f, blocksize=65536)
    else:
        with open(s["local"], "wb") as f:
            ftp.retrbinary("RETR " + s["remote"], f.write, blocksize=65536)


def session(job, steps, result):
    try:
        source = (job["source"], 0) if job["source"] else None
        ftp = Client(result["log"])
        ftp.connect(job["host"], job["port"], timeout=job["timeout"], source_address=source)
        ftp.login(job["user"], job["password"])
        for s in steps:
            step(ftp, s)
            result["done"] += 1
        ftp.quit()
    except (OSError, EOFError, ftplib.Error) as e:
        result["error"] = "step %d: %s: %s" % (result["done"], type(e).__name__, e)


job = json.load(sys.stdin)
results = [{"error": None, "done": 0, "log": []} for _ in job["sessions"]]
threads = [threading.Thread(target=session, args=(job, steps, result))
           for steps, result in zip(job["sessions"], results)]
for t in threads:
    t.start()
for t in threads:
    t.join()
json.dump({"ok": all(r["error"] is None for r in results), "sessions": results}, sys.stdout)
