# SPDX-License-Identifier: Apache-2.0
"""Chromium without a screen, led over a pipe by its DevTools protocol: what a person sees, types and is told.

A Browser has a home of its own with a certificate of the cluster in it, and a policy that shows that one to
the server without asking. The policy's place is /etc/chromium, so this needs a mount namespace of the test's.
"""
import base64
import json
import os
import pathlib
import shutil
import signal
import subprocess
import threading

import rig

LIMIT_S = 60
POLICIES = pathlib.Path("/etc/chromium/policies/managed")
QUIET = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
         "--disable-default-apps", "--disable-gpu", "--disable-dev-shm-usage", "--disable-crash-reporter", "--no-pings", "--no-first-run",
         "--no-default-browser-check", "--password-store=basic", "--hide-scrollbars", "--lang=en")
KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, "End": 35, "Home": 36, "ArrowUp": 38, "ArrowDown": 40}
SHIFT = 8
SCRIPTED = "NavigationEntryMarkedSkippable"  # an address changed with no hand on the mouse: that was the test

# Looks again at each change of the document, and now and then for what is no part of it.
WAIT = """new Promise((done) => {
	const look = () => { const found = (() => { try { return %s; } catch { return null; } })();
		if (found) { observer.disconnect(); clearInterval(timer); done(found); } };
	const observer = new MutationObserver(look), timer = setInterval(look, 100);
	observer.observe(document, { subtree: true, childList: true, characterData: true, attributes: true });
	look(); })"""


def set_policy(settings):
    """For every Chromium that starts from now on in this mount namespace."""
    if not POLICIES.is_dir():
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", POLICIES.parents[1]], check=True)
        POLICIES.mkdir(parents=True)
    (POLICIES / "flocker.json").write_text(json.dumps(settings))


def install(home, authority, pair):
    """The cluster's authority and one certificate with its key, as the documentation says it."""
    store = home / ".pki/nssdb"
    store.mkdir(parents=True)
    base = f"sql:{store}"
    bundle = home / "browser.p12"
    rig.run("certutil", "-N", "-d", base, "--empty-password")
    rig.run("certutil", "-A", "-d", base, "-n", "cluster", "-t", "C,,", "-i", authority.ca)
    rig.run("openssl", "pkcs12", "-export", "-in", pair[0], "-inkey", pair[1], "-out", bundle, "-passout", "pass:once")
    rig.run("pk12util", "-i", bundle, "-d", base, "-W", "once")


class Browser:
    def __init__(self, home, log):
        self.home, self.number, self.answers, self.pages = pathlib.Path(home), 0, {}, {}
        self.changed = threading.Condition()
        to_us, from_it = os.pipe()
        to_it, from_us = os.pipe()
        environment = dict(os.environ, HOME=str(home), XDG_CONFIG_HOME=str(self.home / "config"),
                           XDG_CACHE_HOME=str(self.home / "cache"), TMPDIR=str(home), DBUS_SESSION_BUS_ADDRESS="disabled:")
        environment.pop("XDG_DATA_HOME", None)
        with open(log, "a") as out:
            self.process = subprocess.Popen(
                ["bash", "-c", f'exec "$@" 3<&{to_it} 4>&{from_it}', "bash", shutil.which("chromium"), "--headless=new",
                 "--no-sandbox", "--remote-debugging-pipe", f"--user-data-dir={home}/profile", *QUIET, "about:blank"],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, pass_fds=(to_it, from_it),
                start_new_session=True)
        os.close(to_it)
        os.close(from_it)
        self.into, self.out = os.fdopen(from_us, "wb", buffering=0), os.fdopen(to_us, "rb")
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        rest = b""
        while data := self.out.read1(1 << 16):
            *messages, rest = (rest + data).split(b"\0")
            for message in map(json.loads, messages):
                with self.changed:
                    if "id" in message:
                        self.answers[message["id"]] = message
                    elif message.get("sessionId") in self.pages:
                        self.pages[message["sessionId"]].take(message["method"], message["params"])
                    self.changed.notify_all()
        with self.changed:
            self.out.close()
            self.changed.notify_all()

    def call(self, method, session=None, limit=LIMIT_S, **params):
        with self.changed:
            self.number += 1
            number = self.number
            message = {"id": number, "method": method, "params": params, **({"sessionId": session} if session else {})}
            self.into.write(json.dumps(message).encode() + b"\0")
            assert self.changed.wait_for(lambda: number in self.answers or self.out.closed, limit), \
                f"waited {limit} s in vain for {method} {str(params)[:300]}"
            answer = self.answers.pop(number, {"error": "Chromium has ended"})
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def open(self, url="about:blank"):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        return Page(self, session).go(url)

    def close(self):
        try:
            self.call("Browser.close")
        except (AssertionError, OSError):
            pass
        try:
            self.process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.into.close()


class Page:
    def __init__(self, browser, session):
        self.browser, self.session = browser, session
        self.complaints, self.requests, self.loads = [], [], 0
        browser.pages[session] = self
        for domain in ("Page", "Runtime", "Log", "Network", "Audits", "Accessibility"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)

    def call(self, method, **params):
        return self.browser.call(method, self.session, **params)

    def take(self, method, p):
        """What the console, the network and the browser's own eye for faults say."""
        if method == "Runtime.consoleAPICalled" and p["type"] in ("error", "warning", "assert"):
            self.complaints.append(("console", " ".join(str(a.get("value", a.get("description"))) for a in p["args"])))
        elif method == "Runtime.exceptionThrown":
            details = p["exceptionDetails"]
            self.complaints.append(("exception", details.get("exception", {}).get("description", details["text"])))
        elif method == "Log.entryAdded" and p["entry"]["level"] in ("error", "warning"):
            self.complaints.append((p["entry"]["source"], f"{p['entry']['text']} {p['entry'].get('url', '')}"))
        elif method == "Audits.issueAdded" and SCRIPTED not in str(p):
            self.complaints.append(("issue", json.dumps(p["issue"])))
        elif method == "Network.requestWillBeSent":
            self.requests.append((p["request"]["method"], p["request"]["url"]))
        elif method == "Page.frameNavigated" and not p["frame"].get("parentId"):
            self.loads += 1

    def go(self, url):
        if url != "about:blank":
            error = self.call("Page.navigate", url=url).get("errorText")
            assert not error, f"{url}: {error}"
        return self

    def run(self, script):
        """The value of an expression in the page; a promise is waited for."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, f"{script}: {answer['exceptionDetails']}"
        return answer["result"].get("value")

    def wait(self, condition):
        try:
            return self.run(WAIT % condition)
        except AssertionError as e:
            raise AssertionError(f"{e}\nthe page shows:\n{self.text()}\ncomplaints: {self.complaints}") from None

    def text(self, selector="body"):
        return self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? null")

    def wait_text(self, text, selector="main"):
        """Until that part of the page shows it."""
        return self.wait(f"document.querySelector({json.dumps(selector)})?.innerText.includes({json.dumps(text)})")

    def press(self, key, times=1, shift=False):
        for _ in range(times):
            for kind in ("keyDown", "keyUp"):
                self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=KEYS[key],
                          modifiers=SHIFT if shift else 0, **({"text": "\r"} if key == "Enter" and kind == "keyDown" else {}))

    def type(self, text):
        self.call("Input.insertText", text=text)

    def focused(self):
        """What has the focus, in words."""
        return self.run("""(() => { const e = document.activeElement;
            return e && e !== document.body ? `${e.localName} ${e.id} ${e.innerText ?? ""}`.trim() : ""; })()""")

    def busy_s(self):
        """How long the page's thread has been at work, as the processor counts it."""
        self.call("Performance.enable", timeDomain="threadTicks")
        metrics = self.call("Performance.getMetrics")["metrics"]
        return next(m["value"] for m in metrics if m["name"] == "TaskDuration")

    def look(self, dark=False, width=1280, height=900, calm=False):
        self.call("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce" if calm else "no-preference"}])
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        return self

    def shot(self, path, whole=False):
        size = {}
        if whole:
            content = self.call("Page.getLayoutMetrics")["cssContentSize"]
            size = {"clip": {"x": 0, "y": 0, "width": content["width"], "height": content["height"], "scale": 1},
                    "captureBeyondViewport": True}
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png", **size)["data"])
        if path:
            pathlib.Path(path).write_bytes(data)
        return data
