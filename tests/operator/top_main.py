"""Goal: `top` is something that one leaves open: it sorts, filters, scrolls and follows the terminal's size, without
flicker, in 80x24 and elsewhere, and gives the terminal back.

Method: a real agent with 60 simulated guests; `top` in a tmux of our own; keys are sent, screens captured, and every byte
that `top` writes is kept: a frame never clears the screen and always begins at its top.

    top_main.py BINARIES FOLDER
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
import time

from desk import Desk, guest, say, wait_until


class Tmux:
    def __init__(self, folder):
        self.socket = folder / "tmux"
        self.raw = folder / "top.raw"

    def __call__(self, *arguments, check=True):
        return subprocess.run(["tmux", "-f", "/dev/null", "-S", str(self.socket), *map(str, arguments)], text=True,
                              capture_output=True, check=check).stdout

    def start(self, command):
        self("new-session", "-d", "-s", "top", "-x", 80, "-y", 24, "bash --norc --noprofile")
        self("set-option", "-g", "window-size", "manual")
        self("pipe-pane", "-t", "top", f"cat > {shlex.quote(str(self.raw))}")
        self("send-keys", "-t", "top", "PS1=shell'>'; clear; " + shlex.join(map(str, command)), "Enter")

    def screen(self):
        return self("capture-pane", "-p", "-t", "top").split("\n")[:-1]

    def keys(self, *keys):
        self("send-keys", "-t", "top", *keys)


def main():
    if not shutil.which("tmux"):
        say("tmux is missing (platform/install test installs it)")
        return 77
    guests = [guest(n, f"web-{100 + n}", subscription=n % 3, cpu=n, vcores=1 + n % 4) for n in range(1, 61)]
    desk = Desk(sys.argv[1], sys.argv[2], "nodemeter-top", guests, speed=60)
    site = desk.site
    tmux = Tmux(desk.folder)
    site.port = 9
    site.write_config()
    try:
        look(desk, tmux)
    finally:
        tmux("kill-server", check=False)
        code = desk.end()
    return code


def look(desk, tmux):
    site = desk.site
    desk.start()
    wait_until(lambda: any(v["cpuPermilleOfOneCore"] for v in site_vms(site)), "no rates are known", site.agent)

    def until(what, condition, timeout=30):
        """A screen for which it holds; a frame may be under way, so it is asked until then."""
        end = time.monotonic() + timeout
        while True:
            screen = tmux.screen()
            if condition(screen) or time.monotonic() > end:
                desk.claim(what, condition(screen), "\n".join(screen))
                return screen
            time.sleep(0.05)

    def names(screen):
        return [line.split()[0] for line in screen[4:] if line.startswith("web-")]

    tmux.start([site.binaries / "nodemeter", "top", "--config", site.config, "--interval", "200"])
    screen = until("in 80x24: verdict, titles and 20 VMs", lambda s: len(s) == 24 and len(names(s)) == 20 and
                   s[0].startswith("billing at risk: the source is simulated") and "VCORE-H" in s[3])
    desk.claim("no line is longer than the terminal", all(len(line) <= 80 for line in screen), screen)
    cpu = [float(line.split()[3]) for line in screen[4:]]
    desk.claim("sorted by CPU", cpu == sorted(cpu, reverse=True) and cpu[0] > 0, screen)
    tmux.keys("a")
    until("a: by name", lambda s: names(s) == [f"web-{n}" for n in range(101, 121)])
    tmux.keys("NPage")
    until("page down", lambda s: names(s) == [f"web-{n}" for n in range(121, 141)])
    tmux.keys("Down")
    until("arrow down", lambda s: names(s)[:1] == ["web-122"])
    tmux.keys("End")
    until("end", lambda s: names(s)[-1:] == ["web-160"] and len(names(s)) == 20)
    tmux.keys("r", "Home")
    until("r: turned", lambda s: names(s)[:1] == ["web-160"])
    tmux.keys("/", "WEB-11")
    until("a filter while it is typed", lambda s: len(names(s)) == 10 and "filter: WEB-11_" in s[2])
    tmux.keys("Enter")
    until("a filter that is kept", lambda s: len(names(s)) == 10 and "10 of 10 (60)" in s[2])
    tmux.keys("Escape")
    until("escape: all VMs", lambda s: len(names(s)) == 20 and "of 60" in s[2])
    tmux("resize-window", "-t", "top", "-x", 170, "-y", 40)
    until("a larger terminal shows more VMs and their owners",
          lambda s: len(s) == 40 and len(names(s)) == 36 and "SUBSCRIPTION" in s[3])
    tmux("resize-window", "-t", "top", "-x", 60, "-y", 12)
    until("a small one what fits", lambda s: len(s) == 12 and len(names(s)) == 8 and max(map(len, s)) <= 60)
    tmux("resize-window", "-t", "top", "-x", 80, "-y", 24)
    until("and back", lambda s: s[0].startswith("billing") and len(names(s)) == 20)
    torn = [s for s in (tmux.screen() for _ in range(60)) if not s[0].startswith("billing ") or len(names(s)) != 20]
    desk.claim("60 looks between and during frames: none is torn or empty", not torn, torn[:1])
    tmux.keys("q")
    until("q gives the terminal back", lambda s: any(line.startswith("shell>") for line in s[:4]) and
          not any(line.startswith("billing") for line in s))
    raw = tmux.raw.read_text(errors="replace")
    inside = raw[raw.index("\x1b[?1049h"):raw.index("\x1b[?1049l")]
    frames = inside.split("\x1b[H")[1:]
    desk.claim(f"{len(frames)} frames, none clears the screen first", len(frames) > 9 and
               not re.search(r"\x1b\[[23]J", inside), len(frames))
    desk.claim("the cursor is shown again", "\x1b[?25h" in raw[raw.index(frames[-1]):], raw[-200:])


def site_vms(site):
    done = site.nodemeter("vms", "--json", check=False)
    return json.loads(done.stdout) if done.returncode == 0 else []


if __name__ == "__main__":
    sys.exit(main())
