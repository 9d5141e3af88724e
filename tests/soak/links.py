# SPDX-License-Identifier: Apache-2.0
"""The links between nodes and control, broken by the kernel's packet filter: packets are dropped, so
connections feel it as they would on a network that fails. In the network namespace of the tests only."""
import subprocess


def run(*command, text=None):
    return subprocess.run(command, input=text, text=True, capture_output=True)


class Links:
    def __init__(self, nodes, port):
        self.port = port
        self.addresses = {node: node.settings["address"] for node in nodes}
        self.classes = {node: f"1:{n + 1}" for n, node in enumerate(nodes)}
        self.incoming, self.outgoing = {}, {}  # rules, by node
        self.can_drop = run("nft", "-f", "-", text="""
            table ip soak {
                chain incoming { type filter hook input priority 0; }
                chain outgoing { type filter hook output priority 0; }
            }""").returncode == 0
        self.can_slow = self.can_drop and \
            run("tc", "qdisc", "add", "dev", "lo", "root", "handle", "1:", "htb").returncode == 0

    def end(self):
        run("nft", "delete", "table", "ip", "soak")
        run("tc", "qdisc", "del", "dev", "lo", "root")

    def apply(self):
        lines = ["flush table ip soak"]
        for chain, rules in (("incoming", self.incoming), ("outgoing", self.outgoing)):
            lines += [f"add rule ip soak {chain} {rule}" for some in rules.values() for rule in some]
        done = run("nft", "-f", "-", text="\n".join(lines) + "\n")
        assert done.returncode == 0, done.stderr

    def to_control(self, node):
        return f"ip saddr {self.addresses[node]} tcp dport {self.port}"

    def from_control(self, node):
        return f"ip daddr {self.addresses[node]} tcp sport {self.port}"

    def cut(self, node, *directions):
        self.incoming[node] = [f"{packets(node)} drop" for packets in directions]
        self.apply()

    def lose(self, node, percent):
        self.incoming[node] = [f"{packets(node)} numgen random mod 100 < {percent} drop"
                               for packets in (self.to_control, self.from_control)]
        self.apply()

    def slow(self, node, kbit):
        """Both directions share so much, and what is too much waits."""
        done = run("tc", "class", "replace", "dev", "lo", "parent", "1:", "classid", self.classes[node],
                   "htb", "rate", f"{kbit}kbit", "burst", "1500", "quantum", "1500")
        assert done.returncode == 0, done.stderr
        self.outgoing[node] = [f"{packets(node)} meta priority set {self.classes[node]}"
                               for packets in (self.to_control, self.from_control)]
        self.apply()

    def heal(self, node):
        self.incoming.pop(node, None)
        if self.outgoing.pop(node, None):  # what waits may go now
            run("tc", "class", "change", "dev", "lo", "parent", "1:", "classid", self.classes[node],
                "htb", "rate", "1gbit")
        self.apply()
