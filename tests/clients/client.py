# SPDX-License-Identifier: Apache-2.0
"""A client of the v1 API as the original's users wrote them in Python: the standard library alone, mutual TLS.

It speaks as the original's own client did: it trusts the name "control-service" whatever host it dials,
creates under the condition that the configuration is the one it has read, and takes any status that
is not among those promised for a failure. Statuses, not descriptions, decide.

    client.py HOST PORT CA CERTIFICATE KEY COMMAND ARGUMENT...

    create NAME ADDRESS SIZE     until it is mounted there; prints its id
    update ID ADDRESS            wishes it on another node
    wait ID ADDRESS              until it is mounted there; prints its path
    acquire ID ADDRESS SECONDS   leases it ("-": without an end); prints "acquired" or "renewed"
    release ID
    leases                       prints them, a line each: ID UUID
    delete ID                    until it is gone
"""
import http.client
import json
import ssl
import sys
import time
import uuid

POLL_S = 0.1
LIMIT_S = 120
TRIES = 20


class Failure(Exception):
    pass


class Conflict(Failure):
    """409, or 412: somebody was first."""


class Connection(http.client.HTTPSConnection):
    """Checks for the name that every control service's certificate has."""

    def connect(self):
        http.client.HTTPConnection.connect(self)
        self.sock = self._context.wrap_socket(self.sock, server_hostname="control-service")


class Client:
    def __init__(self, host, port, ca, certificate, key):
        context = ssl.create_default_context(cafile=ca)
        context.load_cert_chain(certificate, key)
        self.connection = Connection(host, int(port), context=context, timeout=30)

    def call(self, method, path, promised, body=None, headers=None):
        """The answer's value, its status and its headers."""
        headers = {"Content-Type": "application/json", **(headers or {})}
        self.connection.request(method, "/v1" + path, None if body is None else json.dumps(body),
                                headers)
        answer = self.connection.getresponse()
        text = answer.read().decode()
        if answer.status not in promised:
            kind = Conflict if answer.status in (409, 412) else Failure
            raise kind(f"{method} {path}: unexpected status {answer.status}:\n{text}")
        if answer.headers["Content-Type"] != "application/json":
            raise Failure(f"{method} {path}: {answer.headers['Content-Type']} is no JSON")
        return json.loads(text), answer.status, answer.headers

    def node(self, address):
        nodes, _, _ = self.call("GET", "/state/nodes", [200])
        for node in nodes:
            if node["host"] == address:
                return str(uuid.UUID(node["uuid"]))
        raise Failure(f"no node has the address {address}: {nodes}")

    def create(self, name, address, size):
        primary = self.node(address)
        for _ in range(TRIES):
            datasets, _, headers = self.call("GET", "/configuration/datasets", [200])
            if any(d["metadata"].get("name") == name and not d["deleted"] for d in datasets):
                raise Conflict(f"there is a dataset '{name}'")
            try:
                made, _, _ = self.call(
                    "POST", "/configuration/datasets", [201],
                    {"primary": primary, "maximum_size": int(size), "metadata": {"name": name}},
                    {"X-If-Configuration-Matches": headers["X-Configuration-Tag"]})
            except Conflict:
                continue
            self.wait(made["dataset_id"], address)
            return made["dataset_id"]
        raise Failure(f"somebody else was first {TRIES} times")

    def state(self, dataset):
        """The first that the list has of it: where it is mounted, when it is."""
        datasets, _, _ = self.call("GET", "/state/datasets", [200])
        return next((d for d in datasets if d["dataset_id"] == dataset), None)

    def until(self, what, condition):
        end = time.monotonic() + LIMIT_S
        while not (value := condition()):
            if time.monotonic() > end:
                raise Failure(f"after {LIMIT_S} s still not {what}")
            time.sleep(POLL_S)
        return value

    def wait(self, dataset, address):
        primary = self.node(address)

        def arrived():
            state = self.state(dataset)
            return state if state and state.get("primary") == primary else None
        return self.until(f"mounted on {address}", arrived)["path"]

    def update(self, dataset, address):
        primary = self.node(address)
        answer, _, _ = self.call("POST", f"/configuration/datasets/{dataset}", [200],
                                 {"primary": primary})
        if answer["primary"] != primary or answer["dataset_id"] != dataset:
            raise Failure(f"something else was recorded: {answer}")

    def acquire(self, dataset, address, seconds):
        wish = {"dataset_id": dataset, "node_uuid": self.node(address),
                "expires": None if seconds == "-" else float(seconds)}
        lease, status, _ = self.call("POST", "/configuration/leases", [200, 201], wish)
        if lease != wish:
            raise Failure(f"something else was leased: {lease}")
        return "acquired" if status == 201 else "renewed"

    def release(self, dataset):
        self.call("DELETE", f"/configuration/leases/{dataset}", [200])

    def leases(self):
        leases, _, _ = self.call("GET", "/configuration/leases", [200])
        return "\n".join(f"{lease['dataset_id']} {lease['node_uuid']}" for lease in leases)

    def delete(self, dataset):
        answer, _, _ = self.call("DELETE", f"/configuration/datasets/{dataset}", [200])
        if answer["deleted"] is not True:
            raise Failure(f"it is not deleted: {answer}")
        self.until("gone", lambda: self.state(dataset) is None)


def main():
    client = Client(*sys.argv[1:6])
    try:
        result = getattr(client, sys.argv[6])(*sys.argv[7:])
    except Failure as failure:
        sys.exit(f"client.py: {failure}")
    if result is not None:
        print(result)


if __name__ == "__main__":
    main()
