# SPDX-License-Identifier: Apache-2.0
"""The units as installed: systemd understands them, and the node keeps the host's mount namespace."""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

UNITS = [pathlib.Path(p) for p in sys.argv[1:]]
del sys.argv[1:]

# Each of these makes the service manager unshare the mount namespace (systemd.exec(5)).
NAMESPACE_SETTINGS = re.compile(
    r"^(Protect(System|Home|KernelTunables|KernelModules|KernelLogs|ControlGroups|Proc|Clock)"
    r"|Private(Tmp|Devices|Mounts|Users|Network|IPC)|ProcSubset|(Read(Write|Only)|Inaccessible|Exec"
    r"|NoExec)Paths|Bind(ReadOnly)?Paths|Root(Directory|Image|Hash)|TemporaryFileSystem"
    r"|Mount(Flags|Images|APIVFS)|ExtensionImages|ExtensionDirectories|LoadCredential\w*"
    r"|SetCredential\w*|DynamicUser|(Runtime|State|Cache|Logs|Configuration)Directory)\s*=", re.M)


class UnitTest(unittest.TestCase):
    def test_the_node_has_no_mount_namespace_of_its_own(self):
        text = next(p for p in UNITS if p.name == "flocker-node.service").read_text()
        self.assertIsNone(NAMESPACE_SETTINGS.search(text))
        for line in ("Type=notify", "Restart=always", "KillMode=process", "Delegate=no"):
            self.assertIn(line + "\n", text)
        self.assertRegex(text, r"(?m)^WatchdogSec=")

    def test_the_docker_plugin_sees_the_hosts_mounts(self):
        text = next(p for p in UNITS if p.name == "flocker-docker-plugin.service").read_text()
        self.assertIsNone(NAMESPACE_SETTINGS.search(text))
        self.assertRegex(text, r"(?m)^CapabilityBoundingSet=CAP_SYS_PTRACE$")

    def test_the_docker_plugins_socket_is_roots_alone(self):
        text = next(p for p in UNITS if p.name == "flocker-docker-plugin.socket").read_text()
        for line in ("SocketMode=0600", "DirectoryMode=0700", "ListenStream=%t/docker/plugins/flocker/flocker.sock"):
            self.assertIn(line + "\n", text)

    def test_a_dataset_is_bound_for_the_host(self):
        text = next(p for p in UNITS if p.name == "flocker-dataset@.service").read_text()
        self.assertIsNone(NAMESPACE_SETTINGS.search(text))
        for line in ("Type=notify", "KillMode=mixed", "NotifyAccess=all", "Restart=on-abnormal"):
            self.assertIn(line + "\n", text)
        self.assertNotRegex(text, r"(?m)^(Requires|BindsTo)=")  # a restart of the node stops no service

    def test_the_node_may_restart_the_machine(self):
        """As "self-fence: reboot" asks for."""
        text = next(p for p in UNITS if p.name == "flocker-node.service").read_text()
        self.assertRegex(text, r"(?m)^CapabilityBoundingSet=.*\bCAP_SYS_BOOT\b")
        allowed, denied = re.findall(r"(?m)^SystemCallFilter=(~?.*)$", text)
        self.assertIn("reboot", allowed.split())
        self.assertNotRegex(denied, r"@reboot\b|\breboot\b")

    def test_no_number_of_failed_starts_ends_the_attempts(self):
        for unit in UNITS:
            head = unit.read_text().split("[Service]")[0]
            self.assertIn("StartLimitIntervalSec=0\n", head, unit.name)

    def test_control_is_nobody(self):
        text = next(p for p in UNITS if p.name == "flocker-control.service").read_text()
        for line in ("User=flocker", "CapabilityBoundingSet=", "ProtectSystem=strict"):
            self.assertIn(line + "\n", text)

    @unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze is missing")
    def test_systemd_understands_them(self):
        with tempfile.TemporaryDirectory() as copies:
            for unit in UNITS:
                # The programs need not be installed for this.
                text = re.sub(r"(?m)^(Exec\w+=\+?)/\S+", r"\1/bin/true", unit.read_text())
                pathlib.Path(copies, unit.name).write_text(text)
            for unit in UNITS:
                run = subprocess.run(["systemd-analyze", "verify", "--man=no", str(pathlib.Path(copies, unit.name))],
                                     capture_output=True, text=True, timeout=60)
                complaints = [line for line in run.stderr.splitlines() if unit.name.split("@")[0] in line]
                self.assertEqual(complaints, [])


if __name__ == "__main__":
    unittest.main()
