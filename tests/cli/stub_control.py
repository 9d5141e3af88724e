# SPDX-License-Identifier: Apache-2.0
"""A control service that only talks: the answers of REST v2 that flockerctl needs, over mutual TLS.

Every GET of a dataset takes it one step further, so that waiting has something to show. Names ask
for trouble: a dataset "stuck" stops at attaching, "rude" gets an answer that is no JSON, "broken"
gets a 500, "cut" an answer without its end; a lease of 666 s gets none. Chunked and sized answers take turns.
"""
import datetime
import hashlib
import http.server
import json
import pathlib
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse
import uuid

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "control"))
import openapi  # noqa: E402

STEPS = ["waiting", "creating", "attaching", "attached", "formatting", "mounting", "mounted"]
LEAVE = ["unmounting", "detaching", "released"]
LISTS = ["/v2/datasets", "/v2/nodes", "/v2/leases", "/v2/backends"]


def moment(seconds):
    return datetime.datetime.utcfromtimestamp(seconds).strftime("%Y-%m-%dT%H:%M:%S.") + "000Z"


class State:
    def __init__(self):
        self.lock = threading.Condition()
        self.nodes = []
        self.datasets = {}
        self.leases = []
        self.requests, self.keys = [], {}
        self.clock = 1790000000
        self.page = 1000  # at most so many datasets in a page
        self.run, self.events, self.first = "run", [], 0
        self.lost_answers = 0  # so many creates are done and not answered
        self.streams = 0
        self.forgetful = False  # no event is kept for as long as a list takes
        self.deviations = []  # of what is asked and answered from control/openapi.json
        self.health = {"live": True, "ready": True, "reasons": [], "version": "9.9.9", "nodes": {"live": 2, "known": 3},
                       "incarnation": 1, "revision": "run-0", "store": {"writable": True},
                       "certificates": [{"file": "control-service.crt", "name": "control-service", "serial": "1",
                                         "expires": "2027-01-31T12:00:00.000Z", "warning": None},
                                        {"file": "cluster.crt", "name": "c", "serial": "2",
                                         "expires": "2037-01-31T12:00:00.000Z", "warning": None}]}

    def revision(self):
        return f"{self.run}-{self.first + len(self.events)}"

    def tell(self, kind, data):
        try:
            openapi.Events.check(kind, json.dumps(data), self.revision())
        except openapi.Deviation as e:
            self.deviations.append(f"{kind}: {e}")
        with self.lock:
            self.events.append((kind, json.dumps(data)))
            self.lock.notify_all()

    def forget_events(self):
        """As a control service that was started anew."""
        with self.lock:
            self.first += len(self.events)
            self.events, self.run = [], self.run + "x"
            self.lock.notify_all()

    def add_node(self, host, live=True, node=None):
        node = node or str(uuid.uuid4())
        self.nodes.append({"uuid": node, "host": host, "state": "live" if live else "away", "live": live,
                           "draining": False, "drained": False, "drain": None,
                           "backends": [{"name": "default", "driver": "loopback", "capacity": 4 << 30, "free": 3 << 29,
                                         "promised": None, "allocation_unit": 4096, "shared": True,
                                         "capabilities": [], "warning": None}],
                           "version": "2.0.0", "boot": str(uuid.uuid4()), "silent_s": 0 if live else 99,
                           "awaited": False, "refused": None, "n_datasets": 0, "unknown_datasets": [],
                           "revision": f"{self.run}-0"})
        return node

    def add_dataset(self, node, metadata=None, size=None, dataset_id=None, state="waiting", name=None):
        dataset_id = dataset_id or str(uuid.uuid4())
        metadata = dict(metadata or {})
        if name:
            metadata["name"] = name
        mounted = state == "mounted"
        self.datasets[dataset_id] = {
            "dataset_id": dataset_id, "name": metadata.get("name"), "metadata": metadata,
            "state": state, "wanted": "mounted" if node else "unplaced", "why": "", "since": moment(self.clock),
            "node": node, "chosen": None, "owner": node if mounted else None, "node_live": True, "epoch": 1,
            "attempts": 0, "next_retry": None, "last_error": None, "device": "/dev/loop7" if mounted else None,
            "mountpoint": "/flocker/" + dataset_id if mounted else None, "filesystem": "ext4", "fs_uuid": None,
            "format_state": "never", "volume_id": None, "size": size or 75 << 30, "volume_size": size or 75 << 30,
            "maximum_size": size, "used": None, "available": None,
            "failover": {"policy": "manual", "term": None, "to": None, "in_force": True, "term_in_force": None},
            "failed_over": False, "fenced": None, "lease": None, "deleted": False, "deleted_at": None,
            "undelete_until": None, "request": None, "created_at": moment(self.clock), "history": [],
            "revision": f"{self.run}-0"}
        return self.datasets[dataset_id]

    def picture(self, dataset, history=False):
        held = [x for x in self.leases if x["dataset_id"] == dataset["dataset_id"]]
        answer = dict(dataset)
        if held:
            answer["lease"] = {"node": held[0]["node"], "expires": held[0]["expires"]}
        if not history:
            del answer["history"]
        return answer

    def say(self, d, state, what):
        self.clock += 1
        d["state"] = state
        d["since"] = moment(self.clock)
        d["history"].append({"time": moment(self.clock), "node": d["owner"], "state": state, "what": what})
        self.tell("dataset", self.picture(d))

    def advance(self, d):
        if d["name"] == "stuck" and d["state"] == "attaching":
            d["why"] = "loop device busy: held by pid 4711 (\x1b[31msleep)"
            d["last_error"] = {"step": "attach", "code": "EBUSY", "message": "Device busy",
                               "holders": ["pid 4711 (sleep) holds /flocker/x", "pid 4712 (cat) holds /flocker/y"]}
            return
        if d["deleted"]:
            if d["state"] == "destroyed" or (d["undelete_until"] and not d["owner"]):
                return
            if d["undelete_until"]:
                d["owner"] = None
                self.say(d, "detached", "kept for a while")
                return
            way = LEAVE + ["destroying", "destroyed"]
            at = way.index(d["state"]) + 1 if d["state"] in way else 0
            self.say(d, way[at], "on the way out")
        elif d["owner"] and d["owner"] != d["node"]:
            if d["state"] in LEAVE[:-1]:
                self.say(d, LEAVE[LEAVE.index(d["state"]) + 1], "leaving")
            elif d["state"] == "released":
                d["owner"] = d["node"]
                d["epoch"] += 1
                self.say(d, "attaching" if d["node"] else "detached", "granted")
            else:
                self.say(d, "unmounting", "leaving")
        elif d["node"] and d["state"] != "mounted":
            d["owner"] = d["node"]
            at = STEPS.index(d["state"]) + 1 if d["state"] in STEPS else 2
            self.say(d, STEPS[at], "arriving")
            if d["state"] == "mounted":
                d["mountpoint"] = "/flocker/" + d["dataset_id"]
        elif d["volume_size"] < d["size"]:
            d["volume_size"] = d["size"]
            self.say(d, "mounted", "has grown")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    chunked = False

    def log_message(self, *args):
        pass

    def check(self, status, headers, body):
        """Nothing is asked of the stub that a control service would refuse, nor answered that none would say."""
        try:
            openapi.check(self.command, self.path, dict(self.headers), self.body, status, headers, body)
        except openapi.Deviation as e:
            self.server.state.deviations.append(str(e))

    def answer(self, status, value, raw=None, headers=()):
        """@raw: what no control service would say; it is not checked."""
        body = raw if raw is not None else json.dumps(value).encode()
        headers = {"Content-Type": "application/json", "X-Request-Id": "r-%d" % len(self.server.state.requests),
                   **dict(headers)}
        if self.command == "GET" and status == 200 and self.path.startswith("/v2/"):
            weak = "W/" if self.url.path in LISTS or self.url.path.startswith("/v2/nodes") else ""
            headers["ETag"] = f'{weak}"{hashlib.sha256(body).hexdigest()[:32]}"'
        if raw is None:
            self.check(status, headers, body)
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name, text)
        Handler.chunked = not Handler.chunked
        if Handler.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            half = len(body) // 2
            for part in (body[:half], body[half:]):
                if part:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def refuse(self, status, code, description, errors=None):
        value = {"code": code, "description": description}
        if errors:
            value["errors"] = errors
        self.answer(status, value)

    def route(self):
        state = self.server.state
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        body = json.loads(self.body) if length else None
        self.url = urllib.parse.urlsplit(self.path)
        self.query = dict(urllib.parse.parse_qsl(self.url.query, keep_blank_values=True))
        self.parts = self.url.path.strip("/").split("/")
        with state.lock:
            state.requests.append((self.command, self.path, body))
        if self.url.path == "/v2/events":
            self.stream(state)
            return
        with state.lock:
            self.dispatch(state, body)

    def dispatch(self, state, body):
        parts = self.parts
        lists = {"/v2/nodes": "nodes", "/v2/leases": "leases"}
        if self.url.path == "/v1/version":
            self.answer(200, {"flocker": "9.9.9"})
        elif self.url.path == "/v2/health":
            self.answer(200 if state.health["ready"] else 503, state.health)
        elif self.url.path == "/metrics":
            self.answer(200, None, b"flocker_up 1\n")
        elif self.url.path == "/v2/backends":
            self.answer(200, {"backends": [], "revision": state.revision()})
        elif self.command == "GET" and self.url.path in lists:
            key = lists[self.url.path]
            self.answer(200, {key: getattr(state, key), "revision": state.revision()})
        elif self.query.get("plan") == "true":
            self.plan(state, body)
        elif parts[:2] == ["v2", "datasets"]:
            self.dataset(state, body)
        elif parts[:2] == ["v2", "nodes"]:
            self.node(state, body)
        elif parts[:2] == ["v2", "leases"]:
            self.lease(state, body)
        else:
            self.answer(404, None, b"<html>no</html>")

    # ---- datasets

    def dataset(self, state, body):
        if len(self.parts) == 2:
            self.list_datasets(state) if self.command == "GET" else self.create(state, body)
            return
        d = state.datasets.get(self.parts[2])
        if d is None:
            self.refuse(404, "not-found", "Dataset not found.")
        elif self.command == "GET":
            self.get_dataset(state, d)
        else:
            self.change_dataset(state, d, body)

    def list_datasets(self, state):
        found = [d for d in state.datasets.values()
                 if (self.query.get("deleted") == "true" or not d["deleted"] or d["undelete_until"]) and
                 self.query.get("name", d["name"]) == d["name"]]
        start = int(self.query.get("after", "0").replace("cursor ", ""))
        limit = min(int(self.query.get("limit", 100)), state.page)
        after = start + limit
        self.answer(200, {"datasets": [state.picture(d) for d in found[start:after]],
                          "next": f"cursor {after}" if after < len(found) else None, "revision": state.revision()})

    def create(self, state, body):
        key = self.headers.get("Idempotency-Key")
        if key in state.keys:
            dataset_id, first = state.keys[key]
            if first != body:
                self.refuse(422, "idempotency-key", "Another body.")
                return
            dataset, status, replayed = state.datasets[dataset_id], 201, {"Idempotency-Replayed": "true"}
        elif body.get("size", 67108864) < 67108864:
            self.refuse(400, "bad-body", "The body is not as it should be.",
                        ["/size: must be at least 67108864 bytes"])
            return
        else:
            node = body.get("node", state.nodes[1]["uuid"])
            dataset = state.add_dataset(node, body.get("metadata"), body.get("size"), name=body.get("name"))
            if "node" not in body:
                dataset["chosen"] = "it has the most free space, 1.50 GiB"
            dataset["failover"].update(body.get("failover", {}))
            dataset["filesystem"] = body.get("filesystem", "ext4")
            state.keys[key] = (dataset["dataset_id"], body)
            state.tell("dataset", state.picture(dataset))
            status, replayed = 201, {}
        if state.lost_answers > 0:
            state.lost_answers -= 1
            self.close_connection = True
            return
        headers = {"Location": f"/v2/datasets/{dataset['dataset_id']}"}
        self.answer(status, state.picture(dataset, True), headers=headers | replayed)

    def get_dataset(self, state, d):
        if d["name"] == "rude":
            self.answer(200, None, b"{not json")
        elif d["name"] == "broken":
            self.refuse(500, "internal", "a3c1f2@/2")
        elif d["name"] == "cut":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"{")
            self.close_connection = True
        elif "wait" in self.query:
            self.wait(state, d)
        else:
            answer = state.picture(d, True)
            self.answer(200, answer)
            state.advance(d)

    def wait(self, state, d):
        """Time passes with each look: a step a look, and the time itself when nothing moves any more."""
        before = None
        while before != json.dumps(d):
            until = self.query.get("until", "settled")
            settled = d["state"] == ("destroyed" if d["deleted"] else "mounted" if d["node"] else "detached") and \
                (d["deleted"] or d["owner"] == d["node"]) and d["volume_size"] >= d["size"]
            if (until == "settled" and settled) or (until == d["state"] and (until != "mounted" or
                                                                            d["owner"] == d["node"])):
                break
            before = json.dumps(d)
            state.advance(d)
        else:
            time.sleep(float(self.query["wait"]))
        self.answer(200, state.picture(d, True))

    def change_dataset(self, state, d, body):
        verb = self.parts[3] if len(self.parts) > 3 else self.command
        if verb == "PATCH":
            if body.get("size", d["size"]) < d["size"]:
                self.refuse(409, "shrink", "A volume cannot shrink.")
                return
            for key, value in body.items():
                if key == "failover":
                    d["failover"].update(value)
                elif key == "metadata":
                    d["metadata"] = {k: v for k, v in {**d["metadata"], **value}.items() if v is not None}
                else:
                    d[key] = value
            if "node" in body:
                d["chosen"] = None
                d["wanted"] = "mounted" if body["node"] else "unplaced"
            if "name" in body:
                d["metadata"]["name"] = body["name"]
        elif verb == "DELETE":
            d.update(deleted=True, wanted="deleted")
            if int(self.query.get("undelete", 0)):
                d["undelete_until"] = moment(state.clock + int(self.query["undelete"]))
        elif not d["deleted"]:
            self.refuse(409, "not-deleted", "The dataset is not deleted.")
            return
        elif verb == "undelete":
            d.update(deleted=False, undelete_until=None, wanted="mounted")
        else:
            d.update(undelete_until=None)
        state.tell("dataset", state.picture(d))
        self.answer(200, state.picture(d, True))

    # ---- nodes, leases, plans, events

    def node(self, state, body):
        known = [n for n in state.nodes if n["uuid"] == self.parts[2]]
        node = known[0] if known else {**state.nodes[0], "uuid": self.parts[2], "state": "forgotten"}
        verb = self.parts[3] if len(self.parts) > 3 else "show"
        if not known and verb != "forget":
            self.refuse(404, "not-found", "Node not found.")
            return
        if verb == "drain":
            node.update(draining=True, drain={"since": moment(state.clock), "left": 2, "stuck": []})
            state.tell("node", node)
        elif verb == "undrain":
            node.update(draining=False, drain=None)
        self.answer(200, node)

    def lease(self, state, body):
        held = [lease for lease in state.leases if lease["dataset_id"] == self.parts[2]]
        if self.command == "DELETE":
            state.leases = [lease for lease in state.leases if lease not in held]
            self.answer(200, held[0]) if held else self.refuse(404, "not-found", "Lease not found.")
        elif body.get("seconds") == 666:
            self.close_connection = True
        elif held and held[0]["node"] != body["node"]:
            self.refuse(409, "leased", "Lease already held.")
        else:
            end = body.get("seconds")
            lease = {"dataset_id": self.parts[2], "node": body["node"],
                     "expires": moment(time.time() + end) if end else None}
            state.leases = [lease for lease in state.leases if lease not in held] + [lease]
            self.answer(200 if held else 201, lease)

    def plan(self, state, body):
        node = state.nodes[0]["uuid"]
        answer = {"status": 200, "steps": [
            {"dataset_id": None, "node": None, "step": "record", "what": "the wish"},
            {"dataset_id": None, "node": node, "step": "mount", "what": "at \x1b[31m/flocker/x"}]}
        if self.parts[1] == "nodes":
            answer["node"] = next(n for n in state.nodes if n["uuid"] == self.parts[2])
        elif self.parts[1] == "leases":
            answer["lease"] = None
        else:
            known = state.datasets.get(self.parts[2]) if len(self.parts) > 2 else None
            dataset = known or state.datasets.pop(state.add_dataset(None)["dataset_id"])
            answer["dataset"] = state.picture(dataset)
        self.answer(200, answer)

    def stream(self, state):
        after = self.query.get("after", self.headers.get("Last-Event-ID"))
        with state.lock:
            run, _, n = (after or state.revision()).rpartition("-")
            n = int(n) - state.first
            if run != state.run or n < 0 or (after and state.forgetful):
                self.refuse(410, "revision-gone", "List again.")
                return
            state.streams += 1
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        text = f": \nid: {state.run}-{state.first + n}\n\n"
        try:
            while True:
                if text:
                    # In two pieces, as no reader may rely on.
                    for piece in (text[:7].encode(), text[7:].encode()):
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                with state.lock:
                    while n >= len(state.events) and run == state.run and state.streams:
                        state.lock.wait(1)
                    if run != state.run or not state.streams:
                        break
                    text = "".join(f"id: {state.run}-{state.first + n + i + 1}\nevent: {kind}\ndata: {data}\n\n"
                                   for i, (kind, data) in enumerate(state.events[n:]) if self.passes(kind, data))
                    n = len(state.events)
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            pass

    def passes(self, kind, data):
        data = json.loads(data)
        return kind.split("-")[0] in self.query.get("type", "dataset,node,lease").split(",") and \
            self.query.get("dataset", data.get("dataset_id")) == data.get("dataset_id") and \
            self.query.get("node", "") in ("", data.get("uuid"), data.get("node"), data.get("owner"))

    do_GET = do_POST = do_DELETE = do_PATCH = do_PUT = route


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # refused clients are part of the tests

    def shutdown(self):
        super().shutdown()
        with self.state.lock:
            self.state.streams = 0
            self.state.lock.notify_all()


def make_certificates(flocker_ca, directory, users=("user",)):
    """Of a cluster: of its control service at 127.0.0.1, and of users."""
    for args in (["initialize", "c"], ["create-control-certificate", "127.0.0.1"],
                 *(["create-api-certificate", user] for user in users)):
        subprocess.run([flocker_ca, *args], cwd=directory, check=True, stdout=subprocess.DEVNULL)


def start(directory, certificate, key, state=None, host="127.0.0.1"):
    """Serves on a free port until shutdown(); the port is server_address[1]."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(directory + "/cluster.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    server = Server((host, 0), Handler)
    server.state = state or State()
    server.socket = context.wrap_socket(server.socket, server_side=True,
                                        do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server
