# SPDX-License-Identifier: Apache-2.0
"""Thousands of watchers in one process, on one thread: python3 watchers.py PORT CA CERTIFICATE KEY COUNT

Says "connected" when all have their first words. Then, for each word that it reads on standard input, "seen WORD
SECONDS" when every one of them was sent an event that holds it, with how long that took from the word on; it ends
with its input. One that is closed is told as "lost"."""
import resource
import select
import socket
import ssl
import sys
import time

IN_FLIGHT = 64  # handshakes at a time


class Watcher:
    def __init__(self, port, context):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setblocking(False)
        self.socket = context.wrap_socket(self.socket, do_handshake_on_connect=False)
        self.state = "handshake"
        self.tail = b""

    def step(self):
        """What to wait for next."""
        try:
            if self.state == "handshake":
                self.socket.do_handshake()
                self.socket.sendall(b"GET /v2/events?type=dataset HTTP/1.1\r\n\r\n")
                self.state = "head"
            while True:
                data = self.socket.recv(65536)
                if not data:
                    self.state = "lost"
                    return 0
                self.tail += data
        except ssl.SSLWantReadError:
            return select.EPOLLIN
        except ssl.SSLWantWriteError:
            return select.EPOLLOUT
        except OSError:
            self.state = "lost"
            return 0

    def take(self, word):
        """True when @word has come; what stands before the last line is forgotten."""
        found = word in self.tail
        self.tail = self.tail[self.tail.rfind(b"\n", 0, -1) + 1:] if found else self.tail
        return found


def run(port, context, count):
    poll = select.epoll()
    watchers, waiting = {}, set()
    words = sys.stdin.fileno()
    word, since, done = b"\nid: ", time.monotonic(), 0

    def handle(w, events):
        nonlocal done
        wanted = w.step()
        fd = w.socket.fileno()
        if w.state == "lost":
            print("lost", flush=True)
            poll.unregister(fd)
            waiting.discard(fd)
        elif wanted != w.wanted:
            poll.modify(fd, wanted)
            w.wanted = wanted
        if fd in waiting and w.take(word):
            waiting.discard(fd)
            done += 1

    poll.register(words, select.EPOLLIN)
    while True:
        while len(watchers) < count and len(waiting) < IN_FLIGHT:
            w = Watcher(port, context)
            w.wanted = select.EPOLLIN
            watchers[w.socket.fileno()] = w
            waiting.add(w.socket.fileno())
            poll.register(w.socket.fileno(), w.wanted)
            handle(w, 0)
        if word and not waiting and len(watchers) == count:
            print("connected" if word == b"\nid: " else f"seen {word.decode()} {time.monotonic() - since:.3f}", flush=True)
            word = b""
        for fd, events in poll.poll():
            if fd != words:
                handle(watchers[fd], events)
                continue
            line = sys.stdin.buffer.readline()
            if not line:
                return
            word, since = line.strip(), time.monotonic()
            waiting = {w.socket.fileno() for w in watchers.values() if w.state != "lost"}
            waiting -= {fd for fd in waiting if watchers[fd].take(word)}


def main():
    port, ca, crt, key, count = sys.argv[1:]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    context = ssl.create_default_context(cafile=ca)
    context.check_hostname = False
    context.load_cert_chain(crt, key)
    run(int(port), context, int(count))


main()
