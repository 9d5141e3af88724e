# SPDX-License-Identifier: Apache-2.0
"""The page shows a cluster as it is, as it changes, to whoever may look, and to nobody's harm."""
import concurrent.futures
import http.server
import json
import os
import pathlib
import threading

import pytest

import cluster as clusters
import isolate
from cluster import wait_until

RISK = {"accept_risk": True}
MANY = 10_000
KEY_S = 0.15  # of the processor that a key may take, with ten thousand datasets
FREEZE_MS = 3000  # and that the page may be deaf, on a machine with other things to do


def viewer_of(authority):
    authority.call("create-viewer-certificate", "wall")
    return authority.dir / "wall.crt", authority.dir / "wall.key"


@pytest.fixture
def make_page(make_browser):
    """make_page(cluster, pair=its user): the page, open and live."""
    def make(cluster, pair=None):
        control = cluster.control
        page = make_browser(cluster.authority, control.port, pair or cluster.authority.user).open()
        page.base = f"https://127.0.0.1:{control.port}/"
        page.go(page.base)
        page.wait_text("Live", "#link")
        page.run("window.here = true")
        return page

    return make


def lists(page):
    return [url for _, url in page.requests if url.endswith("/v2/nodes")]


def check_good(page, *expected):
    """Nothing to complain of but complaints from @expected sources, and no request elsewhere."""
    assert not [c for c in page.complaints if c[0] not in expected], page.complaints
    elsewhere = [url for _, url in page.requests if not url.startswith(page.base)]
    assert not elsewhere
    assert {method for method, _ in page.requests} == {"GET"}


def test_a_dataset_is_made_moved_and_fenced_while_the_page_shows_it(cluster, make_page, shot):
    here, there = cluster
    page = make_page(cluster)
    page.wait_text("Everything is as wished")
    n_lists = len(lists(page))

    dataset = cluster.call("POST", "/v2/datasets", {"name": "orders", "size": 64 << 20, "node": here.uuid})["dataset_id"]
    page.wait_text("orders", ".log")
    page.wait_text(f"mounted on {here.settings['address']}", ".log")
    shot(page, "overview")

    page.run(f"location.hash = '#dataset/{dataset}'")
    page.wait_text("mounted", ".headline")
    page.wait_text("as wished", ".timeline")
    cluster.call("PATCH", f"/v2/datasets/{dataset}", {"node": there.uuid})
    page.wait(f"document.querySelector('.headline .badge.ok') && document.querySelector('.headline').innerText.includes('{there.settings['address']}')")
    page.wait("document.querySelectorAll('.timeline .mounted').length >= 2")
    page.wait_text("unmounting", ".timeline")
    shot(page, "dataset-moved")

    page.run("location.hash = '#'")
    there.reboot()
    page.wait_text("cut off", "section[aria-labelledby=problems]")
    page.wait("document.querySelector('.headline.bad') && document.title.startsWith('▲')")
    page.wait_text("cut off", "#spoken")
    shot(page, "overview-lost-node")
    page.run(f"location.hash = '#node/{there.uuid}'")
    page.wait_text(f"flockerctl node fence {there.uuid} --accept-risk")
    shot(page, "node-lost")

    page.run(f"location.hash = '#dataset/{dataset}'")
    cluster.call("PATCH", f"/v2/datasets/{dataset}", {"node": here.uuid})
    page.wait_text("cut off", ".headline")
    cluster.call("POST", f"/v2/nodes/{there.uuid}/fence", RISK)
    page.wait(f"document.querySelector('.headline .badge.ok') && document.querySelector('.headline').innerText.includes('{here.settings['address']}')")
    page.wait_text("by an operator's word", ".facts")
    page.wait_text("the node is fenced", ".timeline")
    shot(page, "dataset-fenced")

    assert page.run("window.here") is True and page.loads == 1
    assert len(lists(page)) == n_lists, "what it shows has to come from events"
    check_good(page)
    there.start()


def test_who_may_only_look_sees_the_same(cluster, make_page):
    here, _ = cluster
    page = make_page(cluster, viewer_of(cluster.authority))
    dataset = cluster.make(here, metadata={"name": "wiki"})
    page.run("location.hash = '#datasets'")
    page.wait_text("wiki", "table")
    page.wait_text("mounted", "table")
    assert page.run(f"fetch('/v2/datasets/{dataset}', {{ method: 'DELETE' }}).then((a) => a.status)") == 403
    page.run("location.hash = '#nodes'")
    page.wait_text("loopback", "table.spaces")


def test_names_and_metadata_of_strangers_are_text(cluster, make_page, shot):
    here, _ = cluster
    page = make_page(cluster)
    evil = "<script>document.title='had'</script><img src=x onerror=\"document.title='had'\">"
    turned = "\u202egnp.exe'\"&amp;"
    long = "x" * 256
    ids = [cluster.make(here, metadata={"name": name, "<b>key</b>": "<i>\"value\"</i>"}) for name in (evil, turned, long)]
    page.run("location.hash = '#datasets'")
    page.wait_text(evil, "table")
    page.wait_text("\\u{202e}gnp.exe'\"&amp;", "table")
    page.wait_text(long, "table")
    assert page.run("document.documentElement.scrollWidth <= innerWidth"), "a long name may not widen the page"
    shot(page, "datasets-hostile")
    for dataset in ids:
        page.run(f"location.hash = '#dataset/{dataset}'")
        page.wait_text("<b>key</b>", ".metadata")
        page.wait_text("<i>\"value\"</i>", ".metadata")
        assert page.run("document.documentElement.scrollWidth <= innerWidth")
    page.run("location.hash = '#'")
    page.wait_text(evil, ".log")
    assert page.run("document.querySelectorAll('main script, main img, main b > i').length") == 0
    assert "had" not in page.run("document.title")
    check_good(page)


def test_what_is_in_the_way_is_named(cluster, make_page, shot):
    here, there = cluster
    dataset = cluster.make(here, metadata={"name": "busy"})
    page = make_page(cluster)
    with open(here.data(dataset, "held"), "w"):
        cluster.move(dataset, there)
        page.wait_text("unmounting", "section[aria-labelledby=problems]")
        page.run(f"location.hash = '#dataset/{dataset}'")
        page.wait_text(f"pid {os.getpid()}", ".holders")
        page.wait_text("EBUSY", ".trouble")
        page.wait("document.querySelector('.headline .warn').innerText.includes('unmounting')")
        page.wait_text("busy", ".timeline")
        assert page.run("document.querySelector('.steps [aria-current]').innerText").endswith("unmount")
        shot(page, "dataset-busy")
    page.wait("document.querySelector('.headline .badge.ok') && !document.querySelector('.trouble')")
    page.wait_text(there.settings["address"], ".headline")
    check_good(page)


def test_a_node_that_is_drained_says_what_stays(cluster, make_page, shot):
    here, there = cluster
    pinned, free = cluster.make(here, metadata={"name": "pinned"}), cluster.make(here, metadata={"name": "free"})
    cluster.call("PUT", f"/v2/leases/{pinned}", {"node": here.uuid})
    page = make_page(cluster)
    cluster.call("POST", f"/v2/nodes/{here.uuid}/drain")
    page.wait_text("draining", "section[aria-labelledby=problems]")
    page.run(f"location.hash = '#node/{here.uuid}'")
    page.wait_text("pinned", "section[aria-labelledby=stuck]")
    page.wait_text(f"flockerctl node undrain {here.uuid}")
    cluster.wait_mounted(free, there)
    page.wait("!document.querySelector('tbody').innerText.includes('free')")
    shot(page, "node-draining")
    cluster.call("DELETE", f"/v2/leases/{pinned}")
    page.wait_text("drained", ".headline")
    cluster.call("POST", f"/v2/nodes/{here.uuid}/undrain")
    page.wait_text("live", ".headline")
    check_good(page)


def test_a_server_that_was_away_is_found_again(cluster, make_page, shot):
    here, _ = cluster
    dataset = cluster.make(here, metadata={"name": "before"})
    page = make_page(cluster)
    cluster.control.kill()
    page.wait_text("Not connected", "#link")
    page.wait_text("What you see is from", "#notice")
    page.wait_text("When last seen: everything is as wished")
    page.wait_text("1 dataset")
    shot(page, "not-connected")
    cluster.control.start()
    page.wait_text("Live", "#link")
    page.wait("document.querySelector('#notice').innerText === ''")
    cluster.wait_live()
    cluster.make(here, metadata={"name": "after"})
    page.wait_text("after", ".log")
    page.run(f"location.hash = '#dataset/{dataset}'")
    page.wait_text("mounted", ".headline")
    assert page.run("window.here") is True and page.loads == 1
    check_good(page, "network")


def test_a_stopped_server_is_noticed_by_its_silence(cluster, make_page):
    page = make_page(cluster)
    cluster.control.pause()
    try:
        page.wait_text("Not connected", "#link")
        page.wait_text("silent", "#notice")
    finally:
        cluster.control.resume()
    page.wait_text("Live", "#link")


def test_everything_is_reached_with_the_keyboard(cluster, make_page):
    here, _ = cluster
    for name in ("alpha", "beta", "gamma"):
        cluster.make(here, metadata={"name": name})
    page = make_page(cluster)
    page.press("Tab")
    assert page.focused().endswith("Skip to the content")
    page.press("Enter")
    assert page.focused().startswith("main main")
    page.press("Tab", shift=True, times=2)  # back over the views: the last but one
    assert page.focused() == "a  Datasets"
    page.press("Enter")
    page.wait("document.activeElement.id === 'title'")
    assert page.focused() == "h1 title Datasets"
    page.press("Tab")
    assert page.focused().startswith("input q")
    page.type("eta")
    page.wait("document.querySelectorAll('tbody tr').length === 1")
    assert page.run("location.hash") == "#datasets?q=eta"
    page.press("Tab", times=2)
    assert page.focused() == "a  beta"
    page.press("Enter")
    page.wait_text("created, wanted on", ".timeline")
    assert page.focused() == "h1 title beta"
    page.run("history.back()")
    page.wait("document.activeElement.innerText === 'beta' && document.activeElement.localName === 'a'")
    page.run("history.back()")
    page.run("location.hash = '#datasets'")
    page.wait("document.querySelectorAll('tbody tr').length === 3")
    page.run("document.querySelector('tbody a').focus()")
    page.press("ArrowDown")
    assert page.focused() == "a  beta"
    page.press("End")
    assert page.focused() == "a  gamma"
    page.press("Home")
    assert page.focused() == "a  alpha"
    page.press("Tab")
    assert page.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    cluster.make(here, metadata={"name": "aaa"})
    page.wait_text("aaa", "table")
    assert page.focused(), "a change may not take the focus away"
    check_good(page)


def roles_of(page):
    tree = page.call("Accessibility.getFullAXTree")["nodes"]
    return [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in tree if not n["ignored"]]


def test_a_screen_reader_finds_its_way(cluster, make_page):
    here, _ = cluster
    cluster.make(here, metadata={"name": "alpha"})
    page = make_page(cluster)
    roles = roles_of(page)
    for role, name in (("banner", ""), ("navigation", "Views"), ("main", ""), ("heading", "Everything is as wished"), ("status", "")):
        assert (role, name) in roles, roles
    page.run("location.hash = '#datasets'")
    page.wait_text("alpha", "table")
    for width in (1280, 390):
        roles = roles_of(page.look(width=width))
        assert [name for role, name in roles if role == "table"][0].startswith("Datasets"), roles
        assert ("rowheader", "alpha") in roles and ("columnheader", "State") in roles or width < 600
        assert {"row", "rowheader", "cell", "searchbox", "combobox"} <= {role for role, _ in roles}
    assert all(name for role, name in roles if role in ("link", "button", "searchbox", "combobox")), roles


def test_light_dark_and_narrow(cluster, make_page, shot):
    here, _ = cluster
    cluster.make(here, metadata={"name": "alpha"})
    page = make_page(cluster)
    ground = "getComputedStyle(document.body).backgroundColor"
    light, dark = page.look().run(ground), page.look(dark=True).run(ground)
    assert light == "rgb(244, 246, 247)" and dark == "rgb(14, 20, 24)"
    for view in ("", "datasets", "nodes"):
        page.run(f"location.hash = '#{view}'")
        page.wait_text({"": "1 dataset", "datasets": "alpha", "nodes": "loopback"}[view])
        light, dark = shot(page, f"{view or 'overview'}-quiet")
        assert light != dark
        shot(page, f"{view or 'overview'}-narrow", width=390)
        page.look(width=390)
        assert page.run("document.documentElement.scrollWidth <= innerWidth"), f"{view} is wider than a phone"
        page.look()
    page.look(calm=True)
    assert page.run("getComputedStyle(document.querySelector('#link .shape')).animationName") == "none"


def create_many(control, number):
    """Wanted nowhere: records alone."""
    def some(first):
        for n in range(first, number, 8):
            answer = control.post("/v2/datasets", {"name": f"d-{n:05}", "node": None, "size": 64 << 20})
            assert answer.status == 201, answer.text

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(some, range(8)))


class Alone:
    """A control server without nodes; what is on it goes with it."""

    def __init__(self, base):
        self.base = base
        base.mkdir()
        self.authority = clusters.Authority(base / "ca")
        self.control = clusters.Control(self)


def test_ten_thousand_datasets_do_not_freeze_it(make_page, shot):
    cluster = Alone(pathlib.Path(os.environ[isolate.INSIDE]) / "alone")
    cluster.control.start()
    page = make_page(cluster)
    page.run("""window.gaps = [performance.now()];
        setInterval(() => { const t = performance.now(); gaps.push(t - gaps[0]); gaps[0] = t; }, 10)""")
    create_many(cluster.control, MANY)
    page.run("location.hash = '#datasets'")
    page.wait_text("10,000 datasets")
    assert page.run("document.querySelectorAll('tbody tr').length") == 100
    page.run("document.querySelector('#q').focus()")
    before = page.busy_s()
    for letter in "d-09999":
        page.type(letter)
    page.wait_text("1 of 10,000 datasets")
    page.wait_text("d-09999", "table")
    assert page.busy_s() - before < KEY_S * len("d-09999")
    assert page.run("Math.max(...gaps.slice(1))") < FREEZE_MS
    check_good(page)
    fresh = make_page(cluster)
    fresh.run("location.hash = '#datasets?page=100'")
    fresh.wait_text("d-09999", "table")
    shot(fresh, "datasets-10000")
    cluster.control.end()


class Stranger(http.server.BaseHTTPRequestHandler):
    """A page from elsewhere that would like to change the cluster of whoever opens it."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!DOCTYPE html><title>free kittens</title>")

    def log_message(self, *_):
        pass


def test_a_strangers_page_changes_nothing(cluster, make_page):
    here, _ = cluster
    page = make_page(cluster)
    body = json.dumps({"primary": here.uuid})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page.go(f"http://127.0.0.1:{server.server_port}/")
        page.wait("document.title === 'free kittens'")
        page.run(f"""fetch("{page.base}v1/configuration/datasets", {{ method: "POST", mode: "no-cors", credentials: "include",
            body: {json.dumps(body)} }}).then((a) => a.type)""")
        server.shutdown()
    wait_until("it was refused", lambda: "another site" in cluster.control.log)
    assert cluster.call("GET", "/v1/configuration/datasets") == []
