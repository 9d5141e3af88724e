# SPDX-License-Identifier: Apache-2.0
"""flocker-ca: what it makes passes a strict verifier, and it leaves both files of a pair or none."""
import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import unittest

FLOCKER_CA = os.path.abspath(sys.argv.pop(1))
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


def openssl(*args):
    return subprocess.run(["openssl", *args], check=True, capture_output=True, text=True).stdout


class Case(unittest.TestCase):
    def setUp(self):
        self.tmp = tempfile.TemporaryDirectory()
        self.addCleanup(self.tmp.cleanup)
        self.dir = self.tmp.name

    def ca(self, *args, status=0, **kwargs):
        run = subprocess.run([FLOCKER_CA, *args], cwd=self.dir, capture_output=True, text=True,
                             timeout=60, **kwargs)
        self.assertEqual(run.returncode, status, run.stderr)
        if status:
            self.assertTrue(run.stderr)
            self.assertEqual(run.stdout, "")
        return run.stderr if status else run.stdout

    def text(self, name):
        return openssl("x509", "-in", f"{self.dir}/{name}", "-noout", "-text", "-nameopt", "RFC2253")

    def verify(self, name, purpose):
        out = openssl("verify", "-x509_strict", "-purpose", purpose, "-CAfile",
                      f"{self.dir}/cluster.crt", f"{self.dir}/{name}")
        self.assertIn(": OK", out)

    def files(self, directory=None):
        return sorted(os.listdir(directory or self.dir))


class CaTest(Case):
    def test_every_kind_verifies_strictly(self):
        for kind in ("p256", "rsa4096"):
            with self.subTest(kind), tempfile.TemporaryDirectory() as self.dir:
                self.check_every_kind("--key-type", kind)

    def check_every_kind(self, *options):
        out = self.ca("initialize", "my cluster", *options)
        self.assertTrue(out.startswith("Created cluster.key and cluster.crt."))
        out = self.ca("create-control-certificate", "control.example.com", *options)
        self.assertTrue(out.startswith("Created control-control.example.com.crt"))
        self.assertIn("control-control.example.com.key", out)
        out = self.ca("create-node-certificate", *options)
        node = re.match(rf"Created ({UUID})\.crt\. ", out).group(1)
        out = self.ca("create-api-certificate", "alice", *options)
        self.assertTrue(out.startswith("Created alice.crt"))
        out = self.ca("create-viewer-certificate", "wall", *options)
        self.assertTrue(out.startswith("Created wall.crt"))

        root = self.text("cluster.crt")
        cluster = re.search(rf"Subject: CN=my cluster,OU=({UUID})", root).group(1)
        self.assertIn("CA:TRUE, pathlen:0", root)
        self.assertIn("Certificate Sign, CRL Sign", root)
        leaves = {
            "control-control.example.com": ("control-service", "sslserver"),
            node: (f"node-{node}", "sslclient"),
            "alice": ("user-alice", "sslclient"),
            "wall": ("viewer-wall", "sslclient"),
        }
        for stem, (name, purpose) in leaves.items():
            text = self.text(stem + ".crt")
            self.assertIn(f"Subject: CN={name},OU={cluster}\n", text)
            self.assertIn("Version: 3 (0x2)", text)
            self.assertIn("sha256", text.replace("ecdsa-with-SHA256", "sha256").lower())
            self.assertIn("X509v3 Subject Key Identifier", text)
            self.assertIn("X509v3 Authority Key Identifier", text)
            self.verify(stem + ".crt", purpose)
            key = openssl("pkey", "-in", f"{self.dir}/{stem}.key", "-pubout")
            self.assertEqual(key, openssl("x509", "-in", f"{self.dir}/{stem}.crt", "-noout",
                                          "-pubkey"))
            self.assertTrue(pathlib.Path(f"{self.dir}/{stem}.key").read_text()
                            .startswith("-----BEGIN PRIVATE KEY-----"))
        self.assertIn("DNS:control-service, DNS:control.example.com",
                      self.text("control-control.example.com.crt"))
        self.verify("cluster.crt", "any")
        for name in self.files():
            self.assertEqual(stat.S_IMODE(os.stat(f"{self.dir}/{name}").st_mode), 0o600, name)
        self.assertEqual(len(self.files()), 10)

    def serial(self, name):
        return openssl("x509", "-in", f"{self.dir}/{name}", "-noout", "-serial").strip().split("=")[1]

    def revoked(self):
        """Serial numbers in the list, after its signature was found good."""
        openssl("crl", "-in", f"{self.dir}/cluster.crl", "-CAfile", f"{self.dir}/cluster.crt", "-noout", "-verify")
        text = openssl("crl", "-in", f"{self.dir}/cluster.crl", "-noout", "-text")
        return set(re.findall("Serial Number: ([0-9A-F]+)", text)), text

    def test_a_renewed_certificate_is_for_the_same_one(self):
        self.ca("initialize", "c")
        node = re.match("Created (.*)\\.crt\\. ", self.ca("create-node-certificate")).group(1)
        self.ca("create-control-certificate", "192.0.2.1")
        self.ca("create-viewer-certificate", "wall", "--key-type", "rsa4096")
        os.mkdir(self.dir + "/new")
        for stem, purpose in ((node, "sslclient"), ("control-192.0.2.1", "sslserver"), ("wall", "sslclient")):
            self.assertIn(f"{stem}.crt exists", self.ca("renew", f"{stem}.crt", status=1)
                          .replace(f"{stem}.key exists", f"{stem}.crt exists"))
            out = self.ca("renew", f"{stem}.crt", "-o", "new")
            self.assertTrue(out.startswith(f"Created {stem}.crt and {stem}.key anew for "), out)
            self.verify(f"new/{stem}.crt", purpose)
            old, new = self.text(f"{stem}.crt"), self.text(f"new/{stem}.crt")
            for line in ("Subject: .*", "DNS:control-service.*", "Extended Key Usage: ?\n.*"):
                self.assertEqual(re.findall(line, old), re.findall(line, new))
            self.assertNotEqual(self.serial(f"{stem}.crt"), self.serial(f"new/{stem}.crt"))
        self.ca("renew", "cluster.crt", "-o", "new", status=1)
        os.mkdir(self.dir + "/other")
        self.ca("initialize", "o", "-o", "other")
        self.assertIn("is no certificate that this cluster's root signed",
                      self.ca("renew", "wall.crt", "-i", "other", "-o", "new", status=1))

    def test_revoked_certificates_are_on_the_list(self):
        self.ca("initialize", "c")
        for name in "ab":
            self.ca("create-api-certificate", name)
        self.assertEqual(self.ca("list-revoked"), "")
        a, b = self.serial("a.crt"), self.serial("b.crt")
        self.assertIn(f"Revoked user-a (serial {a}).", self.ca("revoke", "a.crt"))
        serials, text = self.revoked()
        self.assertEqual(serials, {a})
        self.assertIn("X509v3 CRL Number: \n                1\n", text)
        self.assertEqual(stat.S_IMODE(os.stat(self.dir + "/cluster.crl").st_mode), 0o644)
        # By the number that the log has, when the certificate is lost.
        self.assertIn(f"(serial {b}).", self.ca("revoke", b.lower()))
        serials, text = self.revoked()
        self.assertEqual(serials, {a, b})
        self.assertIn("X509v3 CRL Number: \n                2\n", text)
        before = pathlib.Path(self.dir + "/cluster.crl").read_bytes()
        self.assertIn(f"Was revoked before: user-a (serial {a})", self.ca("revoke", "a.crt"))
        self.assertEqual(pathlib.Path(self.dir + "/cluster.crl").read_bytes(), before)
        listed = self.ca("list-revoked").splitlines()
        self.assertEqual({line.split()[0] for line in listed}, {a, b})
        run = subprocess.run(["openssl", "verify", "-crl_check", "-CAfile", f"{self.dir}/cluster.crt",
                              "-CRLfile", f"{self.dir}/cluster.crl", f"{self.dir}/a.crt"],
                             capture_output=True, text=True)
        self.assertIn("certificate revoked", run.stderr)

    def test_what_cannot_be_revoked(self):
        self.ca("initialize", "c")
        self.ca("create-api-certificate", "a")
        os.mkdir(self.dir + "/other")
        self.ca("initialize", "o", "-o", "other")
        self.assertIn("is neither a file nor a serial", self.ca("revoke", "no-such.crt", status=1))
        self.assertIn("is no certificate that this cluster's", self.ca("revoke", "cluster.crt", status=1))
        self.assertIn("is no certificate that this cluster's",
                      self.ca("revoke", "a.crt", "-i", "other", status=1))
        self.assertIn("did you mean --inputpath", self.ca("revoke", "a.crt", "-o", "other", status=1))
        self.assertNotIn("cluster.crl", self.files())
        self.ca("revoke", "00", "-i", "other")
        os.rename(self.dir + "/other/cluster.crl", self.dir + "/cluster.crl")
        self.assertIn("is not a list of revoked certificates of this cluster's root",
                      self.ca("revoke", "a.crt", status=1))

    def test_two_revocations_at_once_are_both_on_the_list(self):
        self.ca("initialize", "c")
        runs = [subprocess.Popen([FLOCKER_CA, "revoke", f"{n:02X}"], cwd=self.dir, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL) for n in range(1, 9)]
        self.assertEqual([run.wait(60) for run in runs], [0] * 8)
        self.assertEqual(self.revoked()[0], {f"{n:02X}" for n in range(1, 9)})

    def test_validity_is_twenty_years_and_serials_differ(self):
        self.ca("initialize", "c")
        serials = set()
        for name in "abcd":
            self.ca("create-api-certificate", name)
            text = openssl("x509", "-in", f"{self.dir}/{name}.crt", "-noout", "-serial", "-dates")
            serials.add(re.search("serial=(.*)", text).group(1))
        self.assertEqual(len(serials), 4)
        check = subprocess.run(["openssl", "x509", "-in", f"{self.dir}/a.crt", "-noout", "-checkend",
                                str(20 * 365 * 86400 - 3600)], capture_output=True)
        self.assertEqual(check.returncode, 0)
        check = subprocess.run(["openssl", "x509", "-in", f"{self.dir}/a.crt", "-noout", "-checkend",
                                str(20 * 365 * 86400 + 3600)], capture_output=True)
        self.assertEqual(check.returncode, 1)

    def test_control_certificates_name_addresses_and_hosts(self):
        self.ca("initialize", "c")
        for host, name in (("192.0.2.1", "IP Address:192.0.2.1"),
                           ("2001:db8::1", "IP Address:2001:DB8:0:0:0:0:0:1"),
                           ("a-b.example", "DNS:a-b.example")):
            self.ca("create-control-certificate", host)
            self.assertIn("DNS:control-service, " + name, self.text(f"control-{host}.crt"))
        for host in ("", "-a", "a..b", "a b", "a,DNS:b", "*.example", "a/b", "x" * 64, "é"):
            with self.subTest(host):
                self.assertIn("is no host name", self.ca("create-control-certificate", "--", host,
                                                         status=1))

    def test_input_and_output_directories(self):
        os.mkdir(self.dir + "/in")
        os.mkdir(self.dir + "/out")
        self.ca("initialize", "c", "--outputpath", "in")
        self.ca("create-api-certificate", "bob", "-i", "in", "-o", "out")
        self.assertEqual(self.files(self.dir + "/in"), ["cluster.crt", "cluster.key"])
        self.assertEqual(self.files(self.dir + "/out"), ["bob.crt", "bob.key"])
        self.assertIn("flocker-ca initialize", self.ca("create-node-certificate", status=1))
        self.assertIn("nowhere", self.ca("create-api-certificate", "x", "-i", "in", "-o", "nowhere",
                                         status=1))

    def test_nothing_is_ever_overwritten(self):
        self.ca("initialize", "c")
        before = {n: pathlib.Path(f"{self.dir}/{n}").read_text() for n in self.files()}
        self.assertIn("cluster.key exists and is never overwritten",
                      self.ca("initialize", "c", status=1))
        os.rename(self.dir + "/cluster.key", self.dir + "/elsewhere")
        self.assertIn("cluster.crt exists and is never overwritten",
                      self.ca("initialize", "c", status=1))
        os.rename(self.dir + "/elsewhere", self.dir + "/cluster.key")
        os.symlink("nowhere", self.dir + "/eve.crt")
        self.assertIn("eve.crt exists", self.ca("create-api-certificate", "eve", status=1))
        os.unlink(self.dir + "/eve.crt")
        self.assertEqual(before, {n: pathlib.Path(f"{self.dir}/{n}").read_text() for n in self.files()})

    def test_a_user_is_not_taken_for_a_viewer(self):
        self.ca("initialize", "c")
        self.assertIn("create-viewer-certificate wall",
                      self.ca("create-api-certificate", "viewer-wall", status=1))
        self.assertEqual(self.files(), ["cluster.crt", "cluster.key"])

    def test_an_interrupted_run_is_completed_or_cleared(self):
        self.ca("initialize", "c")
        self.ca("create-api-certificate", "a")
        # Between the two renames:
        os.rename(self.dir + "/a.crt", self.dir + "/.flocker-ca.a.crt")
        # Before the first:
        for name in ("b.key", "b.crt", "c.key"):
            pathlib.Path(f"{self.dir}/.flocker-ca.{name}").write_text("half")
        self.ca("create-api-certificate", "d")
        self.assertEqual(self.files(), ["a.crt", "a.key", "cluster.crt", "cluster.key", "d.crt",
                                        "d.key"])
        self.verify("a.crt", "sslclient")

    def test_two_at_once_leave_one_pair(self):
        self.ca("initialize", "c")
        runs = [subprocess.Popen([FLOCKER_CA, "create-api-certificate", "same"], cwd=self.dir,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                for _ in range(4)]
        self.assertEqual(sorted(run.wait(60) for run in runs), [0, 1, 1, 1])
        self.verify("same.crt", "sslclient")
        self.assertEqual(len(self.files()), 4)

    def test_wrong_roots_are_refused(self):
        self.ca("initialize", "c")
        os.mkdir(self.dir + "/other")
        self.ca("initialize", "o", "-o", "other")
        os.replace(self.dir + "/other/cluster.key", self.dir + "/cluster.key")
        self.assertIn("does not belong", self.ca("create-node-certificate", status=1))
        pathlib.Path(self.dir + "/cluster.key").write_text("no key")
        self.assertIn("holds no unencrypted private key", self.ca("create-node-certificate", status=1))
        pathlib.Path(self.dir + "/cluster.crt").write_text("no certificate")
        self.assertIn("holds no certificate", self.ca("create-node-certificate", status=1))

    def test_a_leaf_cannot_sign(self):
        self.ca("initialize", "c")
        self.ca("create-api-certificate", "a")
        os.mkdir(self.dir + "/leaf")
        for end in ("crt", "key"):
            os.rename(f"{self.dir}/a.{end}", f"{self.dir}/leaf/cluster.{end}")
        self.assertIn("may not sign", self.ca("create-node-certificate", "-i", "leaf", status=1))

    def test_the_originals_version_one_roots_still_sign(self):
        conf = self.dir + "/conf"
        pathlib.Path(conf).write_text("[req]\ndistinguished_name=d\n[d]\n")
        openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-config", conf, "-subj",
                "/OU=6b1ea9a6-ea01-4b3c-a9d1-5b3e6d6ec9b5/CN=old", "-keyout",
                self.dir + "/cluster.key", "-out", self.dir + "/csr")
        openssl("x509", "-req", "-in", self.dir + "/csr", "-signkey", self.dir + "/cluster.key",
                "-days", "30", "-out", self.dir + "/cluster.crt")
        self.assertIn("Version: 1", self.text("cluster.crt"))
        self.ca("create-api-certificate", "a")
        out = openssl("verify", "-CAfile", self.dir + "/cluster.crt", self.dir + "/a.crt")
        self.assertIn(": OK", out)

    def test_names_that_cannot_be(self):
        self.assertIn("1 to 64", self.ca("initialize", "x" * 65, status=1))
        self.ca("initialize", "", status=1)
        self.ca("initialize", b"\xff", status=1)
        self.ca("initialize", "a\nb", status=1)
        self.assertEqual(self.files(), [])
        self.ca("initialize", "Zürich")
        for name in ("", ".x", "a/b", "../a", "cluster", "x" * 60, "a\tb"):
            with self.subTest(name):
                self.ca("create-api-certificate", name, status=1)
        self.assertEqual(self.files(), ["cluster.crt", "cluster.key"])
        self.ca("create-api-certificate", "jürgen")
        self.assertIn("CN=user-j", self.text("jürgen.crt"))

    def test_the_command_line(self):
        self.assertIn("create-node-certificate", self.ca("--help"))
        self.assertIn("--key-type", self.ca("initialize", "--help"))
        self.assertEqual(self.ca("--version"), "2.0.0\n")
        self.assertEqual(self.ca("create-node-certificate", "--version"), "2.0.0\n")
        for wrong in ((), ("nothing",), ("initialize",), ("initialize", "a", "b"),
                      ("create-node-certificate", "a"), ("initialize", "a", "--inputpath", "."),
                      ("initialize", "a", "--key-type", "dsa"), ("initialize", "a", "--wrong")):
            with self.subTest(wrong):
                self.ca(*wrong, status=1)
        self.assertEqual(self.files(), [])


@unittest.skipUnless(os.geteuid() == 0, "a full disk needs root: mounting a tiny tmpfs")
class FullDiskTest(Case):
    def full(self, options):
        """Runs flocker-ca in a tmpfs of its own, in a mount namespace of its own."""
        script = (f"mount -t tmpfs -o {options} tmpfs {self.dir}/small || exit 77; "
                  f"{FLOCKER_CA} create-api-certificate a -i {self.dir} -o {self.dir}/small "
                  f">/dev/null; "
                  f"echo status $?; ls -A {self.dir}/small")
        os.makedirs(self.dir + "/small", exist_ok=True)
        run = subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
                             capture_output=True, text=True, timeout=60)
        if run.returncode == 77:
            self.skipTest("cannot mount a tmpfs here")
        return run

    def test_a_full_disk_leaves_nothing(self):
        self.ca("initialize", "c")
        for options in ("size=4k", "size=1m,nr_inodes=1", "size=1m,nr_inodes=2"):
            with self.subTest(options):
                run = self.full(options)
                self.assertEqual(run.stdout, "status 1\n", run.stderr)
                self.assertIn("No space left on device; nothing was left behind", run.stderr)
        run = self.full("size=8k,nr_inodes=3")
        self.assertEqual(run.stdout, "status 0\na.crt\na.key\n", run.stderr)


if __name__ == "__main__":
    if not shutil.which("openssl"):
        print("the openssl program is missing")
        sys.exit(77)
    unittest.main()
