# SPDX-License-Identifier: Apache-2.0
"""A control service that only talks: the REST answers that flockerctl needs, over mutual TLS.

Every GET of a dataset takes it one step further, so that waiting has something to show. Names ask
for trouble: a dataset "stuck" stops at attaching, "rude" gets an answer that is no JSON, "broken"
gets a 500, "cut" an answer without its end; a lease of 666 s gets none. Chunked and sized answers take turns.
"""
import http.server
import json
import ssl
import threading
import urllib.parse
import uuid

STEPS = ["waiting", "creating", "attaching", "attached", "formatting", "mounting", "mounted"]
LEAVE = ["unmounting", "detaching", "released"]


class State:
    def __init__(self):
        self.lock = threading.Lock()
        self.nodes = []
        self.datasets = {}
        self.replaced, self.fenced, self.forgotten, self.failovers = [], [], [], []
        self.leases = []
        self.requests = []
        self.clock = 1790000000

    def add_node(self, host, live=True, node=None):
        node = node or str(uuid.uuid4())
        self.nodes.append({"uuid": node, "host": host, "live": live,
                           "backends": [{"name": "default", "driver": "loopback", "free": 3 << 29}],
                           "version": "2.0.0", "boot": str(uuid.uuid4()),
                           "silent_s": 0 if live else 99,
                           "refused": None})
        return node

    def add_dataset(self, primary, metadata=None, size=None, dataset_id=None, state="waiting"):
        dataset_id = dataset_id or str(uuid.uuid4())
        metadata = metadata or {}
        mounted = state == "mounted"
        self.datasets[dataset_id] = {
            "dataset_id": dataset_id, "name": metadata.get("name"), "metadata": metadata,
            "state": state, "wanted": "mounted", "why": "", "since": self.clock,
            "owner": primary if mounted else None, "lease": None, "node": primary, "epoch": 1,
            "volume_id": None, "filesystem": metadata.get("flocker:filesystem", "ext4"),
            "fs_uuid": None, "format_state": "never", "maximum_size": size, "size": size,
            "used": None, "available": None, "device": "/dev/loop7" if mounted else None,
            "mountpoint": "/flocker/" + dataset_id if mounted else None,
            "last_error": None, "attempts": 0, "deleted": False, "node_live": True,
            "history": []}
        return self.datasets[dataset_id]

    def configuration(self, dataset):
        answer = {k: dataset[k] for k in ["dataset_id", "deleted", "metadata"]}
        answer["primary"] = dataset["node"]
        if dataset["maximum_size"] is not None:
            answer["maximum_size"] = dataset["maximum_size"]
        return answer

    def say(self, d, state, what):
        self.clock += 1
        d["state"] = state
        d["since"] = self.clock
        d["history"].append({"time": self.clock, "node": d["owner"], "state": state, "what": what})

    def advance(self, d):
        if d["name"] == "stuck" and d["state"] == "attaching":
            d["why"] = "loop device busy: held by pid 4711 (\x1b[31msleep)"
            d["last_error"] = {"step": "attach", "code": "EBUSY", "message": "Device busy", "holders": [
                "pid 4711 (sleep) holds /flocker/x", "pid 4712 (cat) holds /flocker/y"]}
            return
        if d["deleted"]:
            if d["state"] == "destroyed":
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
                self.say(d, "attaching", "granted")
            else:
                self.say(d, "unmounting", "leaving")
        elif d["state"] != "mounted":
            d["owner"] = d["node"]
            self.say(d, STEPS[STEPS.index(d["state"]) + 1], "arriving")
            if d["state"] == "mounted":
                d["mountpoint"] = "/flocker/" + d["dataset_id"]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    chunked = False

    def log_message(self, *args):
        pass

    def answer(self, status, value, raw=None):
        body = raw if raw is not None else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Request-Id", "r-%d" % len(self.server.state.requests))
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

    def refuse(self, status, description, errors=None):
        value = {"description": description}
        if errors:
            value["errors"] = errors
        self.answer(status, value)

    def route(self):
        state = self.server.state
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        with state.lock:
            state.requests.append((self.command, self.path, body))
            self.dispatch(state, body)

    def dispatch(self, state, body):
        parts = self.path.strip("/").split("/")
        if self.path == "/v1/version":
            self.answer(200, {"flocker": "9.9.9"})
        elif self.path == "/v2/nodes":
            self.answer(200, {"nodes": state.nodes})
        elif self.path.startswith("/v2/datasets?"):
            self.list_datasets(state)
        elif parts[:2] == ["v2", "datasets"] and self.command == "PATCH":
            state.failovers.append((parts[2], body["failover"]))
            self.answer(200, state.datasets[parts[2]])
        elif parts[:2] == ["v2", "datasets"] and self.command == "GET":
            self.get_dataset(state, parts[2])
        elif parts[:2] == ["v2", "nodes"] and parts[3] == "replace":
            state.replaced.append(parts[2])
            self.answer(200, {"uuid": parts[2]})
        elif parts[:2] == ["v2", "nodes"] and parts[3] == "fence":
            state.fenced.append((parts[2], body))
            self.answer(200, {"uuid": parts[2]})
        elif parts[:2] == ["v2", "nodes"] and parts[3] == "forget":
            state.forgotten.append((parts[2], body))
            self.answer(200, {"uuid": parts[2]})
        elif parts[:3] == ["v1", "configuration", "leases"]:
            self.lease(state, parts, body)
        elif parts[:3] == ["v1", "configuration", "datasets"] and self.command == "POST":
            self.post_dataset(state, parts, body)
        elif parts[:3] == ["v1", "configuration", "datasets"] and self.command == "DELETE":
            dataset = state.datasets[parts[3]]
            dataset["deleted"] = True
            dataset["wanted"] = "deleted"
            self.answer(200, state.configuration(dataset))
        else:
            self.answer(404, None, b"<html>no</html>")

    def list_datasets(self, state):
        """In pages of two."""
        query = urllib.parse.parse_qs(self.path.split("?")[1])
        start = int(query.get("after", ["0"])[0])
        page = list(state.datasets.values())[start:start + 2]
        more = start + 2 < len(state.datasets)
        self.answer(200, {"datasets": page, "next": str(start + 2) if more else None})

    def get_dataset(self, state, dataset_id):
        dataset = state.datasets.get(dataset_id)
        if dataset is None:
            self.refuse(404, "Dataset not found.")
        elif dataset["name"] == "rude":
            self.answer(200, None, b"{not json")
        elif dataset["name"] == "broken":
            self.answer(500, "a3c1f2@/2")
        elif dataset["name"] == "cut":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"{")
            self.close_connection = True
        else:
            self.answer(200, dataset)
            state.advance(dataset)

    def lease(self, state, parts, body):
        """As the original answers; time stands still."""
        held = [lease for lease in state.leases
                if lease["dataset_id"] == (body["dataset_id"] if body else parts[-1])]
        if self.command == "GET":
            self.answer(200, state.leases)
        elif self.command == "DELETE":
            state.leases = [lease for lease in state.leases if lease not in held]
            self.answer(200, held[0]) if held else self.refuse(404, "Lease not found.")
        elif body["expires"] == 666:
            self.close_connection = True
        elif held and held[0]["node_uuid"] != body["node_uuid"]:
            self.refuse(409, "Lease already held.")
        else:
            if body["expires"] is not None:
                body["expires"] = float(body["expires"])
            state.leases = [lease for lease in state.leases if lease not in held] + [body]
            self.answer(200 if held else 201, body)

    def post_dataset(self, state, parts, body):
        if len(parts) == 4:
            dataset = state.datasets[parts[3]]
            dataset["node"] = body["primary"]
            self.answer(200, state.configuration(dataset))
            return
        if body.get("maximum_size", 67108864) < 67108864:
            self.refuse(400, "The provided JSON doesn't match the required schema.",
                        ["%d is less than the minimum of 67108864" % body["maximum_size"]])
            return
        dataset = state.add_dataset(body["primary"], body.get("metadata"),
                                    body.get("maximum_size"), body["dataset_id"])
        self.answer(201, state.configuration(dataset))

    do_GET = do_POST = do_PATCH = do_DELETE = route


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # refused clients are part of the tests


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
