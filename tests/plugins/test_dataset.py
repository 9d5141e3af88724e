# SPDX-License-Identifier: Apache-2.0
"""flocker-dataset: a dataset held on a node for as long as a service needs it."""
import contextlib
import itertools
import os
import pathlib
import pwd
import re
import signal
import subprocess
import time

import pytest
import rig
from dataset_rig import PLACES, Holder


@pytest.fixture
def here(cluster):
    return cluster.plugins[0]


@pytest.fixture
def there(cluster):
    return cluster.plugins[1]


@pytest.fixture
def hold(request):
    """Makes holders, and ends them."""
    made = []

    def make(plugin, name, *options):
        made.append(Holder(plugin, name, *options))
        return made[-1]
    yield make
    for one in made:
        one.end()
    for one in made:
        assert not one.log_path.exists() or "Sanitizer" not in one.log and "runtime error" not in one.log, one.log
        subprocess.run(["umount", "--lazy", one.place], stderr=subprocess.DEVNULL)
        if one.place.is_dir():
            one.place.rmdir()


def create(cluster, name, **more):
    made = cluster.control.post("/v2/datasets", body={"name": name, "node": None, **more})
    assert made.status == 201, made.text
    return made.json["dataset_id"]


@pytest.fixture
def dataset(cluster):
    return create(cluster, "pgdata")


# ---- from start to stop ----

def test_it_is_brought_bound_and_given_back(here, dataset, hold):
    one = hold(here, "pgdata").held()
    assert one.is_bound() and here.lease("pgdata") == here.member.id
    assert (here.member.root / dataset).stat().st_dev == one.place.stat().st_dev
    assert one.status == "at /srv/flocker/pgdata"
    assert one.stop() == 0
    assert not one.place.exists() and here.lease("pgdata") is None
    assert here.dataset("pgdata")["state"] == "mounted"  # it stays where it is


def test_a_dataset_is_found_by_its_id_and_by_the_oldest_of_a_name(cluster, here, hold):
    for i in range(2):
        answer = cluster.control.post("/v1/configuration/datasets", body={
            "primary": cluster.fleet.members[0].id, "metadata": {"name": "twice", "i": str(i)}})
        assert answer.status == 201
    oldest = cluster.control.every()[0]["dataset_id"]  # by time, and by id within a second
    one = hold(here, "twice").held()
    assert (here.member.root / oldest).stat().st_dev == one.place.stat().st_dev
    nameless = cluster.control.post("/v1/configuration/datasets", body={"primary": cluster.fleet.members[0].id})
    two = hold(here, nameless.json["dataset_id"]).held()
    assert two.is_bound()


def test_an_instance_of_a_unit_is_unescaped(cluster, here, hold):
    create(cluster, "my data-x")
    one = hold(here, r"my\x20data\x2dx", "--instance").held()
    assert os.path.ismount(PLACES / "my data-x")
    assert one.stop() == 0


def test_owner_and_mode_are_of_the_datasets_root(here, dataset, hold):
    nobody = pwd.getpwnam("nobody")
    one = hold(here, "pgdata", "--owner", "nobody:daemon", "--mode", "0700").held()
    st = one.place.stat()
    assert (st.st_uid, st.st_mode & 0o7777) == (nobody.pw_uid, 0o700)
    assert one.stop() == 0
    two = hold(here, "pgdata").held()  # as it is, when nothing is said
    assert two.place.stat().st_uid == nobody.pw_uid and two.place.stat().st_mode & 0o7777 == 0o700


@pytest.mark.parametrize("name, why", [("nosuch", "there is no dataset nosuch"),
                                       ("6b1c2e1e-7c52-4be3-a7d3-1c6f0ea7a0aa", "there is no dataset 6b1c2e1e")])
def test_what_does_not_exist_is_said(here, hold, name, why):
    one = hold(here, name).start()
    assert one.wait_end() == 1
    assert why in one.log and why in one.status and "00000000-0000" not in one.log


def test_a_deleted_dataset_is_said_to_be_deleted(cluster, here, dataset, hold):
    assert cluster.control.delete(f"/v2/datasets/{dataset}?undelete=600").status == 200
    for name in ("pgdata", dataset):
        one = hold(here, name).start()
        assert one.wait_end() == 1 and f"dataset {name} is deleted" in one.log


@pytest.mark.parametrize("arguments, why", [
    ((), "one dataset"), (("a", "b"), "one dataset"), (("a/b",), "cannot be a directory"), (("..",), "cannot be"),
    (("--mode", "0999", "a"), "octal mode"), (("--owner", "no-such-user", "a"), "user of this machine"),
    (("--owner", "root:no-such-group", "a"), "group of this machine"), (("--in-use", "take", "a"), "refuse or wait"),
    (("--instance", r"a\x00"), "no name"), (("--instance", r"a\xff"), "no name"), (("--control-port", "0", "a"), "65535")])
def test_wrong_words_are_refused_in_one_line(arguments, why):
    said = subprocess.run([os.environ["FLOCKER_DATASET"], *arguments], capture_output=True, text=True)
    assert said.returncode == 1 and why in said.stderr and said.stderr.count("\n") == 1


# ---- in use elsewhere ----

@pytest.mark.parametrize("at,why", [("here", "no absolute path"), ("/", "no absolute path"), ("/srv/a/", "a slash too many"),
                                    ("/srv/../a", "no absolute path"), ("{root}", "in the mount root"),
                                    ("{root}/{dataset}", "in the mount root"), ("{root}/{dataset}/a", "in the mount root")])
def test_a_place_where_it_cannot_be_is_refused_before_anything_is_done(here, dataset, hold, at, why):
    one = hold(here, "pgdata").start("--at", at.format(root=here.member.root, dataset=dataset))
    assert one.wait_end() == 1 and why in one.log
    assert here.lease("pgdata") is None and here.dataset("pgdata")["node"] is None


def test_what_another_node_uses_is_refused_with_its_name_and_user(cluster, here, there, dataset, hold):
    first = hold(here, "pgdata").held()
    rig.wait_until("it is told who uses it", lambda: here.dataset("pgdata")["metadata"].get("flocker:used-by"))
    second = hold(there, "pgdata").start()
    assert second.wait_end() == 1
    assert f"is in use on node {here.member.id}" in second.log and "by program flocker-dataset pgdata" in second.log
    assert second.status in second.log
    assert first.is_bound() and here.lease("pgdata") == here.member.id
    assert not list((there.dir / "run/users").glob("*"))


def test_one_that_waits_gets_it_at_its_end(cluster, here, there, dataset, hold):
    first = hold(here, "pgdata").held()
    second = hold(there, "pgdata", "--at", "/srv/there").start("--in-use", "wait", "--at", "/srv/there")
    second.wait_said("waits for the end of its use")
    assert first.stop() == 0
    second.wait_said("READY=1")
    assert os.path.ismount("/srv/there") and there.lease("pgdata") == there.member.id
    assert second.stop() == 0


def test_what_others_have_written_is_one_fact_to_systemd(cluster, here, there, dataset, hold):
    """A line more could be READY=1, and a service would start without its data."""
    control = cluster.control
    assert control.call("PUT", f"/v2/leases/{dataset}", body={"node": there.member.id}).status == 201
    assert control.call("PATCH", f"/v2/datasets/{dataset}",
                        body={"metadata": {"flocker:used-by": "unit web\nREADY=1"}}).status == 200
    one = hold(here, "pgdata").start("--in-use", "wait")
    one.wait_said("by unit web?READY=1")
    assert "READY=1" not in one.said


def test_a_start_goes_on_as_long_as_the_node_works(here, dataset, hold):
    here.member.slow = True
    one = hold(here, "pgdata").start()
    one.wait_said("it is mounting")
    one.wait_said("EXTEND_TIMEOUT_USEC=")
    here.member.go_on()
    one.wait_said("READY=1")


def test_a_start_that_only_fails_again_and_again_is_not_prolonged(cluster, here, dataset, hold):
    here.member.slow = True
    one = hold(here, "pgdata").start()
    one.wait_said("it is mounting")
    order = here.member.waiting[0]

    attempt = itertools.count()

    def fail():
        for state in ("failed", "mounting"):
            here.member.report("status", order, state, step="mount", errno=5, why=f"attempt {next(attempt)}")
    cluster.fleet.loop.call_soon_threadsafe(fail)
    one.wait_said("mount: Input/output error")
    one.hear().clear()
    end = time.monotonic() + 5  # more than two looks of it
    while time.monotonic() < end:
        cluster.fleet.loop.call_soon_threadsafe(fail)
        time.sleep(0.2)
    assert not any("EXTEND" in s for s in one.hear()), one.said
    here.member.go_on()
    one.wait_said("READY=1")


def test_a_start_that_is_stopped_takes_its_lease_back(here, dataset, hold):
    here.member.slow = True
    one = hold(here, "pgdata").start()
    one.wait_said("it is mounting")
    assert one.stop() == 0
    assert here.lease("pgdata") is None and not one.place.exists()
    here.member.go_on()


# ---- the place ----

def test_foreign_files_links_and_mounts_are_not_covered(here, dataset, hold):
    PLACES.mkdir(exist_ok=True)
    files, link, mount = (pathlib.Path("/srv", n) for n in ("files", "link", "mount"))
    (files / "x").mkdir(parents=True)
    link.symlink_to("files")
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "other", mount], check=True)
    writable = pathlib.Path("/srv/writable")
    writable.mkdir()
    writable.chmod(0o777)
    try:
        for place, why in ((files, "is not empty"), (link, "is a symbolic link"), (link / "x", "is a symbolic link"),
                           (mount, "something else is mounted"), (writable / "x", "may write to /srv/writable"),
                           ("relative", "no absolute path"), ("/srv/../srv/x", "no absolute path"),
                           ("/srv//x", "no absolute path"), (files / "x/../y", "no absolute path")):
            one = hold(here, "pgdata", "--at", str(place)).start()
            assert one.wait_end() == 1
            assert why in one.log, one.log
            assert here.lease("pgdata") is None
            one.log_path.unlink()
        assert os.listdir(files) == ["x"]
    finally:
        subprocess.run(["umount", mount], check=True)


def test_two_places_share_the_lease_and_the_last_releases_it(here, dataset, hold):
    one = hold(here, "pgdata").held()
    two = hold(here, "pgdata", "--at", "/srv/second").held()
    assert one.stop() == 0
    assert here.lease("pgdata") == here.member.id and os.path.ismount("/srv/second")
    assert two.stop() == 0
    assert here.lease("pgdata") is None and not list((here.dir / "run/users").glob("*"))


def test_one_place_has_one_holder(here, dataset, hold):
    hold(here, "pgdata").held()
    two = hold(here, "pgdata").start()
    assert two.wait_end() == 1 and "another flocker-dataset has it" in two.log
    assert here.lease("pgdata") == here.member.id


def test_a_busy_place_is_said_with_its_holders_and_loses_nothing(here, dataset, hold):
    one = hold(here, "pgdata").held()
    with open(one.place / "file", "wb", buffering=0) as held:
        assert one.stop() == 0
        assert f"is in use by pid {os.getpid()}" in one.log
        held.write(b"still there")
        assert not one.is_bound() and here.lease("pgdata") is None
    assert (here.member.root / dataset / "file").read_bytes() == b"still there"


# ---- with containers ----

def test_a_container_keeps_the_lease_when_the_service_stops(here, dataset, hold):
    here.start()
    one = hold(here, "pgdata").held()
    here.mounted("pgdata")
    assert one.stop() == 0
    assert here.lease("pgdata") == here.member.id
    here.unmount("pgdata")
    assert here.lease("pgdata") is None
    here.end()


def test_a_service_keeps_the_lease_when_the_container_stops(here, dataset, hold):
    here.start()
    here.mounted("pgdata")
    one = hold(here, "pgdata").held()
    here.unmount("pgdata")
    assert here.lease("pgdata") == here.member.id and one.is_bound()
    here.mounted("pgdata")
    here.restart()  # what it remembers counts after a restart as well
    assert one.stop() == 0
    assert here.lease("pgdata") == here.member.id
    here.unmount("pgdata")
    assert here.lease("pgdata") is None
    here.end()


# ---- when it is lost ----

def lost(one, why):
    assert one.wait_end() == 1
    assert why in one.log and why in one.status, (one.log, one.said)
    assert not one.is_bound()


def test_an_unmounted_dataset_is_lost(here, dataset, hold):
    one = hold(here, "pgdata").held()
    subprocess.run(["umount", here.member.root / dataset], check=True)
    lost(one, "dataset pgdata was unmounted")


def test_an_unmounted_place_is_lost(here, dataset, hold):
    one = hold(here, "pgdata").held()
    subprocess.run(["umount", one.place], check=True)
    lost(one, "was unmounted from /srv/flocker/pgdata")


@pytest.mark.parametrize("state", ["lost", "fenced"])
def test_what_its_node_calls_lost_is_a_loss(cluster, here, dataset, hold, state):
    one = hold(here, "pgdata").held()
    order = here.member.holds[dataset]
    cluster.fleet.loop.call_soon_threadsafe(
        lambda: here.member.report("status", order, state, why="its volume is missing"))
    lost(one, f"dataset pgdata is {state}: ")
    assert here.lease("pgdata") is None


def test_a_faulty_dataset_is_told_and_kept(cluster, here, dataset, hold):
    """Its backend may be full: the service knows what to do."""
    one = hold(here, "pgdata").held()
    order = here.member.holds[dataset]
    cluster.fleet.loop.call_soon_threadsafe(
        lambda: here.member.report("status", order, "faulty", why="its backend is full", mounted=True))
    one.wait_said("it is faulty: ")
    assert one.is_bound() and one.stop() == 0


def test_certificates_are_read_again_on_sighup(here, dataset, hold):
    one = hold(here, "pgdata").held()
    for name in ("plugin.crt", "plugin.key"):
        (here.dir / name).rename(here.dir / f"former-{name}")
    one.process.send_signal(signal.SIGHUP)
    rig.wait_until("it finds them missing", lambda: "plugin.crt" in one.log)
    for name in ("plugin.crt", "plugin.key"):
        (here.dir / f"former-{name}").rename(here.dir / name)
    assert one.stop() == 0 and here.lease("pgdata") is None


def test_a_lease_that_was_released_is_taken_again(cluster, here, dataset, hold):
    one = hold(here, "pgdata").held()
    assert cluster.control.delete(f"/v2/leases/{dataset}").status == 200
    rig.wait_until("it is taken again", lambda: here.lease("pgdata") == here.member.id)
    rig.wait_until("it is told", lambda: "its lease, which was gone, is taken again" in one.log)
    assert one.stop() == 0 and here.lease("pgdata") is None


def test_a_lease_that_another_node_has_is_a_loss(cluster, here, there, dataset, hold):
    one = hold(here, "pgdata").held()
    one.process.send_signal(signal.SIGSTOP)
    os.kill(one.worker, signal.SIGSTOP)
    assert cluster.control.delete(f"/v2/leases/{dataset}").status == 200
    assert cluster.control.call("PUT", f"/v2/leases/{dataset}", body={"node": there.member.id}).status == 201
    os.kill(one.worker, signal.SIGCONT)
    one.process.send_signal(signal.SIGCONT)
    lost(one, "dataset pgdata")  # as now that node's, or as taken from this one
    assert here.lease("pgdata") == there.member.id  # which is not released by who lost it


def test_a_move_or_deletion_waits_and_is_told(cluster, here, there, dataset, hold):
    one = hold(here, "pgdata").held()
    assert cluster.control.call("PATCH", f"/v2/datasets/{dataset}", body={"node": there.member.id}).status == 200
    one.wait_said("it is wanted on node")
    assert cluster.control.delete(f"/v2/datasets/{dataset}").status == 200
    one.wait_said("it is deleted, once")
    assert one.is_bound() and one.stop() == 0


def test_systemd_is_asked_again_when_its_stop_was_replaced(here, dataset, hold, tmp_path):
    """By a start of the service, say, which takes the place of the stop that was to come."""
    asked, systemctl = tmp_path / "asked", tmp_path / "systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$@" >>{asked}\n')
    systemctl.chmod(0o755)
    subprocess.run(["mount", "--bind", systemctl, "/bin/systemctl"], check=True)
    try:
        one = hold(here, "pgdata", "--unit", "flocker-dataset@pgdata.service").held()
        subprocess.run(["umount", one.place], check=True)
        rig.wait_until("it is asked again", lambda: asked.exists() and asked.read_text().count("\n") == 2)
        assert set(asked.read_text().splitlines()) == {"--no-block stop flocker-dataset@pgdata.service"}
        assert one.stop() == 1 and here.lease("pgdata") is None
    finally:
        subprocess.run(["umount", "/bin/systemctl"], check=True)


# ---- crashes ----

def test_a_stop_is_finished_also_when_the_worker_is_killed_in_its_midst(cluster, here, dataset, hold):
    one = hold(here, "pgdata").held()
    worker = one.worker
    def status(key):
        text = pathlib.Path(f"/proc/{worker}/status").read_text()
        return re.search(rf"(?m)^{key}:\s*(\w+)", text).group(1)
    os.kill(worker, signal.SIGSTOP)
    # Of two that are pending it would take SIGTERM first.
    rig.wait_until("it is stopped", lambda: status("State") == "T")
    one.process.send_signal(signal.SIGTERM)
    rig.wait_until("it was passed on", lambda: int(status("ShdPnd"), 16) >> (signal.SIGTERM - 1) & 1)
    os.kill(worker, signal.SIGKILL)
    assert one.wait_end() == 0
    assert not one.is_bound() and here.lease("pgdata") is None


def test_a_lease_is_released_also_when_the_worker_is_killed_after_its_unbind(cluster, here, dataset, hold):
    one = hold(here, "pgdata").held()
    cluster.kill_control()
    one.process.send_signal(signal.SIGTERM)
    rig.wait_until("it is unbound", lambda: not one.is_bound())
    os.kill(one.worker, signal.SIGKILL)
    cluster.control.start()
    assert one.wait_end() == 0, one.log
    cluster.fleet.wait_welcomed(2)
    assert here.lease("pgdata") is None and not list((here.dir / "run/users").glob("*"))


@pytest.mark.parametrize("what", ["place", "dataset"])
def test_what_is_unmounted_while_the_worker_hangs_is_lost_to_its_successor(here, dataset, hold, what):
    """Whoever uses it would run on, and nothing is brought back under it."""
    one = hold(here, "pgdata").held()
    os.kill(one.worker, signal.SIGSTOP)
    subprocess.run(["umount", one.place if what == "place" else here.member.root / dataset], check=True)
    os.kill(one.worker, signal.SIGKILL)
    lost(one, "dataset pgdata was unmounted")
    assert "as it was left there" not in one.log
    assert here.lease("pgdata") is None and not one.place.exists()


def test_a_signal_that_comes_twice_ends_it_once(here, dataset, hold):
    """From a terminal keeper and worker get it, and the keeper passes its own on."""
    one = hold(here, "pgdata").held()
    worker = one.worker
    one.process.send_signal(signal.SIGTERM)

    def has_ended():
        one.hear()
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGTERM)
        return one.process.poll() is not None
    rig.wait_until("it has ended", has_ended)
    assert one.wait_end() == 0 and "killed by" not in one.log
    assert here.lease("pgdata") is None


def test_a_killed_worker_is_succeeded_and_nobody_notices(here, dataset, hold):
    one = hold(here, "pgdata").held()
    with open(one.place / "file", "wb", buffering=0) as held:
        for _ in range(2):
            before = one.worker
            os.kill(before, signal.SIGKILL)
            rig.wait_until("another works", lambda: one.log.count("as it was left there") > _)
            held.write(b"x")
    assert one.process.poll() is None and one.is_bound() and here.lease("pgdata") == here.member.id
    rig.wait_until("it is ready", lambda: one.worker not in (None, before))
    assert one.stop() == 0 and here.lease("pgdata") is None


def test_the_next_start_takes_over_what_a_killed_one_left_even_without_control(cluster, here, dataset, hold):
    one = hold(here, "pgdata").held()
    one.kill()
    assert one.is_bound() and here.lease("pgdata") == here.member.id
    cluster.kill_control()
    two = hold(here, "pgdata").held()
    assert two.is_bound() and "as it was left there" in two.log
    cluster.control.start()
    cluster.fleet.wait_welcomed(2)
    rig.wait_until("it is told so", lambda: two.status == "at /srv/flocker/pgdata")
    assert two.stop() == 0 and here.lease("pgdata") is None


def test_control_that_is_away_ends_nothing(cluster, here, dataset, hold):
    one = hold(here, "pgdata").held()
    cluster.kill_control()
    cluster.control.start()
    cluster.fleet.wait_welcomed(2)
    rig.wait_until("it follows again", lambda: "answers again" in one.log)
    assert one.is_bound() and one.stop() == 0
    assert here.lease("pgdata") is None


def test_a_start_waits_for_control(cluster, here, dataset, hold):
    cluster.kill_control()
    one = hold(here, "pgdata").start()
    one.wait_said("waits for the control service")
    cluster.control.start()
    cluster.fleet.wait_welcomed(2)
    one.wait_said("READY=1")


# ---- terms ----

def renew(plugin, term_s):
    """What a node tells: its terms last from now on."""
    now = int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000)
    (plugin.dir / "run").mkdir(exist_ok=True)
    (plugin.dir / "run/terms").write_text(f"{now:020} {term_s * 1000:020}\n")
    return now / 1000


def test_a_term_that_is_not_renewed_is_given_up_when_half_of_it_is_over(cluster, here, hold):
    create(cluster, "leased", failover={"policy": "lease", "term": 8})
    renew(here, 8)
    one = hold(here, "leased").held()
    end = time.monotonic() + 4.5  # more than half of it
    while time.monotonic() < end:
        time.sleep(0.3)
        last = renew(here, 8)
    assert one.process.poll() is None, one.log
    lost(one, "the term of dataset leased is half over and not renewed")
    assert 4 <= time.clock_gettime(time.CLOCK_BOOTTIME) - last < 8, one.log


def test_a_term_is_known_to_the_successor_of_a_killed_worker_while_control_is_away(cluster, here, hold):
    create(cluster, "leased", failover={"policy": "lease", "term": 6})
    renew(here, 6)
    one = hold(here, "leased").held()
    cluster.kill_control()
    os.kill(one.worker, signal.SIGKILL)
    lost(one, "the term of dataset leased is half over and not renewed")
    assert "as it was left there" in one.log


def test_a_term_that_control_extended_for_its_own_restart_ends_nothing(cluster, here, hold):
    create(cluster, "leased", failover={"policy": "lease", "term": 2})
    renew(here, 300)
    one = hold(here, "leased").held()
    cluster.kill_control()
    time.sleep(1.2)  # more than half of its own
    assert one.process.poll() is None, one.log


def test_without_a_term_nobody_need_renew(here, dataset, hold):
    renew(here, 0)
    one = hold(here, "pgdata").held()
    assert one.stop() == 0, one.log
