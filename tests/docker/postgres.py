# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL in containers, and clients that remember each commit that was acknowledged to them."""
import ctypes
import ctypes.util
import glob
import io
import pathlib
import pwd
import random
import subprocess
import tarfile
import threading
import time

import cluster as clusters

IMAGE = "flocker-postgres"
DATA = "/var/lib/postgresql/data"
USER = "postgres"
WRITERS, ACCOUNTS = 3, 10
LIMIT_S = 60

# As the well-known images begin: what has no database yet gets one. With an empty directory instead of its data
# a server would come up all the same, and without a row.
START = f"""
set -e
[ -s {DATA}/PG_VERSION ] || initdb -D {DATA} -A trust --data-checksums --encoding UTF8 --locale C
exec postgres -D {DATA} -c listen_addresses= -c unix_socket_directories=/run/postgresql -c max_wal_size=64MB
"""

TABLES = f"""
CREATE EXTENSION amcheck;
CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL);
INSERT INTO account SELECT n, 0 FROM generate_series(0, {ACCOUNTS - 1}) n;
CREATE TABLE told (writer int, n int, filler text, PRIMARY KEY (writer, n));
"""


def programs():
    """Where Debian has them; None without."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/pg_amcheck"), key=lambda p: int(p.split("/")[4]))
    return pathlib.Path(found[-1]).parent if found else None


def missing():
    if not programs():
        return "postgresql is missing"
    try:
        pwd.getpwnam(USER)
    except KeyError:
        return f"there is no user {USER}"
    return None if ctypes.util.find_library("pq") else "libpq is missing"


def make_image(host):
    """An image whose /usr is that of this machine; dockerd gives a new volume the owner of the directory in it."""
    user = pwd.getpwnam(USER)
    path = host.dir / f"{IMAGE}.tar"
    with tarfile.open(path, "w") as tar:
        def add(name, kind, uid=0, gid=0, mode=0o755, **fields):
            entry = tarfile.TarInfo(name)
            entry.type, entry.uid, entry.gid, entry.mode = kind, uid, gid, mode
            text = fields.pop("text", "").encode()
            entry.size = len(text)
            entry.linkname = fields.pop("target", "")
            tar.addfile(entry, io.BytesIO(text))
        for name in ("usr", "proc", "dev", "sys", "etc", "run", "var", "var/lib", "var/lib/postgresql"):
            add(name, tarfile.DIRTYPE)
        add("tmp", tarfile.DIRTYPE, mode=0o1777)
        for name in ("bin", "sbin", "lib", "lib64"):
            add(name, tarfile.SYMTYPE, target=f"usr/{name}")
        add("run/postgresql", tarfile.DIRTYPE, user.pw_uid, user.pw_gid)
        add(DATA[1:], tarfile.DIRTYPE, user.pw_uid, user.pw_gid, 0o700)
        add("etc/passwd", tarfile.REGTYPE, mode=0o644, text=f"{USER}:x:{user.pw_uid}:{user.pw_gid}::/tmp:/bin/sh\n")
    host.docker.good("import", str(path), IMAGE)
    sockets = host.dir / "postgresql"
    sockets.mkdir()
    sockets.chmod(0o777)
    return sockets


class Server:
    """One at a time, now on this host and now on that one, by docker run."""

    def __init__(self, hosts, volume):
        self.volume, self.host, self.name = volume, None, "db"
        self.sockets = {host: make_image(host) for host in hosts}

    def try_to_run(self, host, *options):
        return host.docker("run", "-d", "--network", "none", "--name", self.name, "--user", USER, "--stop-signal",
                           "SIGINT", "--stop-timeout", "60", "--volume", "/usr:/usr:ro", "--volume",
                           f"{self.sockets[host]}:/run/postgresql", "--volume", f"{self.volume}:{DATA}",
                           "--volume-driver", "flocker", "--env", f"PATH={programs()}:/usr/bin", *options, IMAGE,
                           "sh", "-c", START)

    def run(self, host):
        result = self.try_to_run(host)
        assert result.status == 0, result
        self.host = host

    def is_refused(self, host):
        """It runs where it is, and can nowhere else."""
        result = self.try_to_run(host)
        assert result.status != 0 and "in use on node" in result.error, result
        host.docker("rm", "-f", self.name)

    def stop(self):
        self.host.docker.good("stop", self.name)
        assert self.host.docker.good("inspect", "--format", "{{.State.ExitCode}}", self.name) == "0", self.log()
        self.remove()

    def remove(self):
        self.host.docker.good("rm", "-f", self.name)

    def log(self):
        result = self.host.docker("logs", self.name)
        return result.out + result.error

    def client(self, program, *words):
        run = subprocess.run([str(programs() / program), "--host", str(self.sockets[self.host]), "--username", USER,
                              *words], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=LIMIT_S)
        assert run.returncode == 0, run.stdout + run.stderr + self.log()
        return run.stdout

    def ask(self, sql):
        return self.client("psql", "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set", "ON_ERROR_STOP=1",
                           "--dbname", "postgres", "--command", sql)

    def make_tables(self):
        address = self.sockets[self.host] / ".s.PGSQL.5432"
        clusters.wait_until("the server listens", lambda: Connection(address.parent).close())
        self.ask(TABLES)

    def check_files(self):
        self.client("pg_amcheck", "--heapallindexed", "--parent-check", "postgres")

    def check(self, writers):
        """Each commit that was acknowledged is there, whole and once, and the files are as they should be."""
        self.check_files()
        rows = {tuple(map(int, line.split("|"))) for line in self.ask("SELECT writer, n FROM told").split()}
        lost = [(w.number, n) for w in writers for n in w.told if (w.number, n) not in rows]
        assert not lost, f"{len(lost)} commits are lost: {lost[:10]}"
        assert rows <= {(w.number, n) for w in writers for n in range(w.next + 1)}
        assert int(self.ask("SELECT sum(balance) FROM account")) == len(rows)
        return len(rows)


# ---- clients ----

class Connection:
    """A session of libpq; may fail at any time, which is all that it says."""
    lib = None
    PGRES_COMMAND_OK = 1
    silent = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p)(lambda *_: None)

    def __init__(self, directory):
        pq = Connection.lib = Connection.lib or ctypes.CDLL(ctypes.util.find_library("pq"))
        pq.PQconnectdb.restype = pq.PQexec.restype = ctypes.c_void_p
        for function in (pq.PQstatus, pq.PQfinish, pq.PQresultStatus, pq.PQclear):
            function.argtypes = [ctypes.c_void_p]
        pq.PQexec.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        self.session = pq.PQconnectdb(f"host={directory} user={USER} dbname=postgres connect_timeout=5".encode())
        pq.PQsetNoticeProcessor.argtypes = [ctypes.c_void_p] * 3
        pq.PQsetNoticeProcessor(self.session, self.silent, None)

    def ready(self):
        return self.lib.PQstatus(self.session) == 0

    def commit(self, sql):
        """True: the server said that it is committed."""
        result = self.lib.PQexec(self.session, sql.encode())
        good = self.lib.PQresultStatus(result) == self.PGRES_COMMAND_OK
        self.lib.PQclear(result)
        return good

    def close(self):
        """Whether it was one."""
        was = self.ready()
        self.lib.PQfinish(self.session)
        return was


class Writer(threading.Thread):
    """Commits all the time, wherever the server is; knows what was acknowledged, and when last."""

    def __init__(self, number, server, seed):
        super().__init__(daemon=True)
        self.number, self.server = number, server
        self.random = random.Random(seed * 1000 + number)
        self.told, self.next, self.last = [], 0, 0.0
        self.ended = threading.Event()
        self.start()

    def run(self):
        while not self.ended.is_set():
            connection = Connection(self.server.sockets[self.server.host])
            if connection.ready():
                self.write(connection)
            connection.close()
            self.ended.wait(0.01)

    def write(self, connection):
        """One that was not acknowledged may be there or not, and is not tried again."""
        good = True
        while good and not self.ended.is_set():
            good = connection.commit(
                f"WITH a AS (UPDATE account SET balance = balance + 1 WHERE id = {self.random.randrange(ACCOUNTS)}) "
                f"INSERT INTO told VALUES ({self.number}, {self.next}, repeat('x', 200))")
            if good:
                self.told.append(self.next)
                self.last = time.monotonic()
            self.next += 1


class Load:
    def __init__(self, server, seed):
        self.writers = [Writer(number, server, seed) for number in range(WRITERS)]

    def wait(self, commits):
        """Until each writer has had so many more acknowledged; when the first of them was."""
        before = [len(w.told) for w in self.writers]
        clusters.wait_until("commits are acknowledged", lambda: any(
            len(w.told) > n for w, n in zip(self.writers, before)))
        first = time.monotonic()
        clusters.wait_until("commits are acknowledged", lambda: all(
            len(w.told) >= n + commits for w, n in zip(self.writers, before)))
        return first

    def last(self):
        return max(w.last for w in self.writers)

    def end(self):
        for writer in self.writers:
            writer.ended.set()
        for writer in self.writers:
            writer.join(LIMIT_S)
        return self.writers
