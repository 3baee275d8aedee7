#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A server that knows RFC 959 and what it is told of RFC 2428.

One JSON job as argument, then it serves:
{"root": DIR, "listen": [[ADDRESS, PORT], ...], "epsv": WORD}

WORD is "rfc" (EPSV and EPRT as in RFC 2428), "old" (it knows neither), "mute" (EPSV is
answered with a port where nobody listens, EPRT is unknown) or "close" (it hangs up when
it gets one of them).
"""
import json
import os
import socket
import sys
import threading

job = json.loads(sys.argv[1])


class Session:
    def __init__(self, control):
        self.control = control
        self.listener = self.target = None

    def say(self, text):
        self.control.sendall(text.encode() + b"\r\n")

    def path(self, name):
        return os.path.join(job["root"], os.path.basename(name))

    def listen(self):
        self.target = None
        self.listener = socket.create_server((self.control.getsockname()[0], 0))
        self.listener.settimeout(20)
        return self.listener.getsockname()

    def data(self):
        if self.listener:
            return self.listener.accept()[0]
        own = (self.control.getsockname()[0], 0)
        return socket.create_connection(self.target, timeout=20, source_address=own)

    def announced(self, host, port):
        if host != self.control.getpeername()[0]:
            self.say("500 not your address")
            return
        self.listener, self.target = None, (host, port)
        self.say("200 ok")

    def port(self, arg):
        n = [int(x) for x in arg.split(",")]
        self.announced(".".join(map(str, n[:4])), n[4] << 8 | n[5])

    def extended(self, verb, arg):
        kind = job["epsv"]
        if kind == "close":
            self.control.close()
        elif kind == "old" or kind == "mute" and verb == "EPRT":
            self.say("500 unknown command")
        elif kind == "mute":
            self.say("229 Extended Passive Mode (|||9|)")
        elif verb == "EPSV" and arg in ("", "1"):
            self.say("229 Extended Passive Mode (|||%d|)" % self.listen()[1])
        elif verb == "EPRT" and arg.startswith("|1|"):
            self.announced(arg.split("|")[2], int(arg.split("|")[3]))
        else:
            self.say("522 Network protocol not supported, use (1)")

    def transfer(self, source, sink):
        self.say("150 here it comes")
        try:
            with self.data() as data:
                if sink is None:
                    data.sendall(source)
                else:
                    with open(sink, "wb") as f:
                        while block := data.recv(1 << 16):
                            f.write(block)
        except OSError as e:
            self.say("425 no data connection: %s" % e)
            return
        self.say("226 done")

    def command(self, verb, arg):
        if verb in ("EPSV", "EPRT"):
            self.extended(verb, arg)
        elif verb == "PASV":
            host, port = self.listen()
            self.say("227 Entering Passive Mode (%s,%d,%d)." % (host.replace(".", ","), port >> 8, port & 255))
        elif verb == "PORT":
            self.port(arg)
        elif verb == "RETR" and os.path.exists(self.path(arg)):
            with open(self.path(arg), "rb") as f:
                self.transfer(f.read(), None)
        elif verb == "RETR":
            self.say("550 no such file")
        elif verb in ("LIST", "NLST"):
            self.transfer("".join(n + "\r\n" for n in os.listdir(job["root"])).encode(), None)
        elif verb == "STOR":
            self.transfer(None, self.path(arg))
        elif verb in ("USER", "PASS"):
            self.say("331 password" if verb == "USER" else "230 welcome")
        elif verb == "PWD":
            self.say('257 "/" is it')
        elif verb in ("CWD", "NOOP", "TYPE", "MODE", "STRU"):
            self.say("200 ok")
        elif verb == "QUIT":
            self.say("221 bye")
            return False
        else:
            self.say("500 unknown command")
        return True

    def run(self):
        self.say("220 ready")
        for line in self.control.makefile("r", encoding="latin-1", newline="\r\n"):
            verb, _, arg = line.rstrip("\r\n").partition(" ")
            print(line.rstrip(), flush=True)
            if not self.command(verb.upper(), arg):
                return


def serve(control):
    with control:
        try:
            Session(control).run()
        except OSError:
            pass


def accept(listener):
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


listeners = [socket.create_server((host, port)) for host, port in job["listen"]]
threads = [threading.Thread(target=accept, args=(ln,)) for ln in listeners]
for t in threads:
    t.start()
