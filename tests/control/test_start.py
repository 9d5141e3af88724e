# SPDX-License-Identifier: Apache-2.0
"""The command line, and what is said when control cannot start."""
import os
import pwd
import signal
import socket
import subprocess

import pytest

import rig

PROGRAM = os.environ.get("FLOCKER_CONTROL", "")


def call(*args):
    done = subprocess.run([PROGRAM, *args], capture_output=True, text=True, timeout=rig.LIMIT_S)
    return done.returncode, done.stdout, done.stderr


def test_help_and_version():
    status, out, err = call("--help")
    assert status == 0 and out.startswith("Usage: flocker-control") and not err
    for option in ("--data-path", "--port", "--agent-port", "--certificates-directory", "--user",
                   "--log-level", "--from", "--apply", "--force", "backup FILE", "recover"):
        assert option in out
    assert max(map(len, out.splitlines())) <= 80
    status, out, err = call("--version")
    assert status == 0 and out == "2.0.0\n"


@pytest.mark.parametrize("args, words", [
    (["--nonsense"], "--nonsense is not an option"),
    (["--port"], "--port needs a value"),
    (["--port", "4523"], "--port '4523' is no endpoint: write tcp:4523"),
    (["--port", "tcp:0"], "no endpoint"),
    (["--agent-port", "tcp:4524:interface=nowhere"], "--agent-port"),
    (["--log-level", "loud"], "error, warning, notice, info or debug"),
    (["more"], "'more' is one argument too many"),
    (["backup"], "backup needs the name of a file"),
    (["backup", "a", "b"], "'b' is one argument too many"),
    (["backup", "a", "--apply"], "--apply is no option of backup"),
    (["recover", "a"], "'a' is one argument too many"),
    (["recover", "--port", "tcp:1"], "--port is no option of recover"),
    (["--from", "a"], "--from is no option of the server"),
    (["-x"], "-x is not an option"),
])
def test_wrong_usage_is_one_line_and_a_hint(args, words):
    status, out, err = call(*args)
    assert status == 1 and not out
    error, hint = err.splitlines()
    assert error.startswith("ERROR: ") and words in error and "--help" in hint


@pytest.fixture
def plan(authority, tmp_path):
    control = rig.Control(authority, tmp_path)
    yield control
    control.end()


@pytest.mark.parametrize("attribute, option", [("port", "--port"), ("agent_port", "--agent-port")])
def test_a_port_in_use(plan, attribute, option):
    with socket.socket() as s:
        s.bind(("127.0.0.1", getattr(plan, attribute)))
        s.listen()
        line = plan.fails()
    assert f"cannot listen on 127.0.0.1 port {getattr(plan, attribute)}" in line
    assert option in line and "another program" in line


def test_an_address_of_another_machine(plan):
    line = plan.fails("--port", f"tcp:{plan.port}:interface=192.0.2.1")
    assert "does not have that address" in line


@pytest.mark.parametrize("name, words", [
    ("cluster.crt", "certificate of the cluster's authority"),
    ("control-service.crt", "certificate of this service"),
    ("control-service.key", "private key of this service"),
])
def test_a_missing_or_broken_certificate_is_named(plan, name, words):
    path = plan.certs / name
    kept = path.read_bytes()
    path.unlink()
    line = plan.fails()
    assert f"{path} does not exist" in line and words in line
    path.write_text("nonsense")
    assert f"{path} holds no" in plan.fails()
    path.unlink()
    path.mkdir()
    assert f"{path} is no file" in plan.fails()
    path.rmdir()
    path.write_bytes(kept)
    plan.start()


def test_a_key_of_another_certificate(plan, authority):
    (plan.certs / "control-service.key").write_bytes(authority.user[1].read_bytes())
    line = plan.fails()
    assert "control-service.key is not the key of the certificate in" in line


def test_a_certificate_of_another_cluster(plan, tmp_path):
    other = rig.Authority(tmp_path / "other", "other")
    (plan.certs / "cluster.crt").write_bytes(other.ca.read_bytes())
    assert "both have to be of one cluster" in plan.fails()


def test_a_key_that_everybody_reads_is_a_warning(plan):
    (plan.certs / "control-service.key").chmod(0o644)
    plan.start()
    assert "control-service.key can be read by every user" in plan.log


def test_a_data_path_that_cannot_be_made(plan, tmp_path):
    plan.data = tmp_path / "no" / "such"
    assert "--data-path" in plan.fails()
    plan.data = tmp_path / "file"
    plan.data.write_text("")
    assert "it has to be a directory" in plan.fails()


def test_sigint_ends_in_order(plan):
    plan.start()
    plan.process.send_signal(signal.SIGINT)
    assert plan.process.wait(rig.LIMIT_S) == 0


def test_readiness_watchdog_and_the_end_are_told_to_the_manager(plan, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(str(tmp_path / "notify"))
        s.settimeout(rig.LIMIT_S)
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"),
                       "WATCHDOG_USEC": "200000"}
        environment.pop("WATCHDOG_PID", None)
        plan.start(env=environment)
        assert s.recv(100) == b"READY=1"
        assert s.recv(100) == b"WATCHDOG=1"
        assert plan.stop() == 0
        while (message := s.recv(100)) == b"WATCHDOG=1":
            pass
        assert message == b"STOPPING=1"


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def open_up(path):
    """pytest's directories are private; another user has to get through."""
    for parent in [path, *path.parents]:
        if parent.owner() == "root" and str(parent) != "/" and str(parent) != "/tmp":
            parent.chmod(parent.stat().st_mode | 0o055)


@needs_root
def test_root_is_given_up(plan, tmp_path):
    nobody = pwd.getpwnam("nobody")
    open_up(tmp_path)
    plan.certs.chmod(0o755)
    for name in ("cluster.crt", "control-service.crt"):
        (plan.certs / name).chmod(0o644)
    line = plan.fails("--user", "nobody")
    assert "control-service.key cannot be read" in line
    os.chown(plan.certs / "control-service.key", 0, nobody.pw_gid)
    (plan.certs / "control-service.key").chmod(0o640)
    plan.start("--user", "nobody")
    status = open(f"/proc/{plan.process.pid}/status").read()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split() == [str(nobody.pw_uid)] * 4
    assert fields["Gid"].split() == [str(nobody.pw_gid)] * 4
    assert fields["CapEff"] == fields["CapPrm"] == "0" * 16 and fields["NoNewPrivs"] == "1"
    assert plan.data.stat().st_uid == nobody.pw_uid
    assert plan.create("11111111-1111-4111-8111-111111111111")


@needs_root
def test_staying_root_is_a_warning(plan):
    plan.start()
    assert "running as root" in plan.log


@needs_root
def test_an_unknown_user(plan):
    assert "there is no user 'nosuchuser'" in plan.fails("--user", "nosuchuser")
