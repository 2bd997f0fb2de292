"""admin_page.py URL TOKEN FOLDER: the admin page in headless Chromium, driven through its debugging pipe: it shows a
server under load, its console runs commands, nothing that clients say becomes markup, and it fits a phone and a desktop,
by day and in the dark. Screenshots are left in FOLDER."""

import base64
import json
import os
import subprocess
import sys
import tempfile
import time

url, token, folder = sys.argv[1:]
PATIENCE = 90


class Browser:
    """Chromium and one page in it."""

    def __init__(self, profile):
        to_read, write = os.pipe()
        read, to_write = os.pipe()

        def place():  # The protocol wants descriptors 3 and 4, which may be among the pipes'.
            ends = [os.dup(to_read), os.dup(to_write)]
            high = [os.dup2(end, 60 + at) for at, end in enumerate(ends)]
            for at, end in enumerate(high):
                os.dup2(end, 3 + at)

        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
                 "--disable-sync", "--disable-component-update", "--disable-dev-shm-usage", "--hide-scrollbars"]
        self.process = subprocess.Popen(["chromium", *flags, f"--user-data-dir={profile}", "--remote-debugging-pipe"],
                                        preexec_fn=place, pass_fds=(3, 4), stderr=subprocess.DEVNULL)
        os.close(to_read), os.close(to_write)
        self.write, self.read = os.fdopen(write, "wb"), os.fdopen(read, "rb")
        self.last, self.events, self.session, self.rest = 0, [], None, b""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        self.last += 1
        message = {"id": self.last, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.write.write(json.dumps(message).encode() + b"\0")
        self.write.flush()
        while True:
            said = self.next()
            if said.get("id") == self.last:
                assert "error" not in said, said
                return said["result"]
            self.events.append(said)

    def next(self):
        while b"\0" not in self.rest:
            more = os.read(self.read.fileno(), 1 << 16)
            assert more, "the browser ended"
            self.rest += more
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def ask(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, what, expression):
        deadline = time.time() + PATIENCE
        while not self.ask(expression):
            assert time.time() < deadline, f"not within {PATIENCE} s: {what}: {self.ask('document.body.innerText')[:3000]}"
            time.sleep(0.1)

    def press(self, key):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key,
                      **({"windowsVirtualKeyCode": 13, "text": "\r"} if key == "Enter" else {}))

    def type(self, text):
        self.ask("document.getElementById('line').focus()")
        self.call("Input.insertText", text=text)

    def complaints(self):
        """What the browser objects to, but for statuses of answers, which the page shows by itself."""
        bad = ("Runtime.exceptionThrown", "Log.entryAdded")
        said = [event["params"] for event in self.events if event.get("method") in bad]
        return [it for it in said if it.get("entry", {}).get("source") != "network"]


def run(browser):
    browser.call("Page.navigate", url=url)
    browser.until("it is loaded", f"location.href === {json.dumps(url)} && document.readyState === 'complete'")
    browser.until("it asks for a token", "!document.getElementById('login').hidden")
    browser.ask(f"document.querySelector('#login input').value = {json.dumps(token)}")
    browser.ask("document.querySelector('#login button').click()")
    browser.until("it is open", "document.getElementById('login').hidden")
    browser.until("the layers are named", "document.getElementById('layers').textContent.includes('runtime epoll')")
    browser.until("the load is seen", "/[1-9].*\\/s/.test(document.getElementById('rate').textContent)")
    browser.until("percentiles", "/99 % [1-9]/.test(document.getElementById('delay').textContent)")
    browser.until("commands", "document.querySelectorAll('#commands tbody tr').length > 2")
    browser.until("clients", "document.getElementById('clients').textContent.includes('<b>bold</b>')")
    browser.until("slow commands", "document.getElementById('slow').textContent.includes('<img')")
    browser.until("nothing is tracked", "document.getElementById('tracked').textContent === 'not tracked'")
    browser.ask("document.getElementById('track').focus()")
    browser.press("Enter")
    browser.until("hot keys", "/key:.*B \\(\\d+ %\\)/.test(document.getElementById('hot').textContent)")
    browser.until("heat of shards", "/^\\d+ shards; the busiest/.test(document.getElementById('heat').ariaLabel)")
    assert browser.ask("document.getElementById('track').disabled"), "tracking begins once"
    assert browser.ask("document.querySelectorAll('td *').length") == 0, "what clients say has become markup"
    assert browser.ask("[...document.querySelectorAll('input')].every((it) => it.ariaLabel)"), "an input without a name"
    console(browser)
    for name, width, scheme in (("phone", 390, "light"), ("phone-dark", 390, "dark"), ("desktop", 1280, "light")):
        picture(browser, name, width, scheme)
    assert not browser.complaints(), browser.complaints()


def console(browser):
    said = "document.getElementById('said').textContent"
    browser.type('SET "a key" there')
    browser.press("Enter")
    browser.until("SET is answered", f"{said}.includes('\"OK\"')")
    browser.until("names of commands", "document.querySelectorAll('#names option').length > 200")
    browser.type("ZRANGE")
    browser.until("a hint", "/ZRANGE key start stop .*BYSCORE/.test(document.getElementById('hint').textContent)")
    browser.ask("document.getElementById('line').value = ''")
    browser.press("ArrowUp")
    assert browser.ask("document.getElementById('line').value") == 'SET "a key" there'
    browser.ask("document.getElementById('line').value = ''")
    browser.type("GET 'a key'")
    browser.press("Enter")
    browser.until("GET is answered", f"{said}.includes('\"there\"')")
    browser.type("LPUSH 'a key' x")
    browser.press("Enter")
    browser.until("an error is shown", "document.querySelector('#said .error')?.textContent.startsWith('WRONGTYPE')")


def picture(browser, name, width, scheme):
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=1600, deviceScaleFactor=1, mobile=width < 500)
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.until(f"{name}: nothing is wider than the window", "document.documentElement.scrollWidth <= innerWidth")
    paper = browser.ask("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 24, 29)"}[scheme], paper
    shot = base64.b64decode(browser.call("Page.captureScreenshot")["data"])
    assert len(shot) > 20_000, f"{name}: a picture of nothing, {len(shot)} bytes"
    with open(os.path.join(folder, f"{name}.png"), "wb") as file:
        file.write(shot)


# In memory, where that can be: what else CI runs keeps the disk busy, for which the browser's cache would wait.
memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
with tempfile.TemporaryDirectory(dir=memory, ignore_cleanup_errors=True) as profile:
    browser = Browser(profile)
    try:
        run(browser)
    finally:
        browser.process.kill()
        browser.process.wait()
print(f"the page shows load, runs commands, fits; screenshots in {folder}")
