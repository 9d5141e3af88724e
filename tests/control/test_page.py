# SPDX-License-Identifier: Apache-2.0
"""The web page's files as the server hands them out."""
import re


def files(control):
    """Every file of the page, from what is named in the one before."""
    found, waiting = {}, ["/"]
    while waiting:
        path = waiting.pop()
        found[path] = control.get(path)
        assert found[path].status == 200, path
        text = found[path].text.decode()
        waiting += {p for p in re.findall(r'(?:src|href)="(/[^"]*)"', text)
                    + [f"/web/{m}" for m in re.findall(r'from "\./([^"]+)"', text)]} - found.keys() - set(waiting)
    return found


def test_the_page_is_whole_and_needs_nothing_else(control):
    found = files(control)
    assert {"/", "/web/app.js", "/web/style.css", "/web/icon.svg", "/web/dom.js"} <= found.keys()
    for path, answer in found.items():
        text = answer.text.decode()
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), path
        assert "innerHTML" not in text and "style=\"" not in text, path
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';") and "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert not re.search(r"<script(?![^>]* src=)|<style| on\w+=", found["/"].text.decode())
    assert [a.type for p, a in sorted(found.items()) if p in ("/", "/web/app.js", "/web/icon.svg", "/web/style.css")] == [
        "text/html; charset=utf-8", "text/javascript; charset=utf-8", "image/svg+xml", "text/css; charset=utf-8"]


def test_a_file_that_did_not_change_is_not_sent_again(control):
    first = control.get("/")
    again = control.get("/", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status == 304 and again.text == b""
    assert again.headers["Content-Security-Policy"] == first.headers["Content-Security-Policy"]


def test_a_file_that_does_not_exist_is_not_found(control):
    assert control.get("/web/../control-service.key").status == 404
    assert control.get("/web/").status == 404
