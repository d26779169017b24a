"""A renderer as bad as they come: forks, daemonises with and without its output held open, ignores
SIGTERM. The first argument marks all its processes; the second says what the parent does then."""

import os
import signal
import sys
import time


def become_deaf() -> None:
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def daemonise(hold_output: bool) -> None:
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    become_deaf()
    if not hold_output:
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
    while True:
        time.sleep(60)


def main() -> None:
    become_deaf()
    daemonise(hold_output=True)
    daemonise(hold_output=False)
    if os.fork() == 0:
        while True:  # a plain child
            time.sleep(60)
    # and one in a process group of its own
    if os.fork() == 0:
        os.setpgid(0, 0)
        while True:
            time.sleep(60)
    os.write(1, b"nasty is up\n")
    if sys.argv[2] == "stay":
        while True:
            time.sleep(60)
    sys.exit(int(sys.argv[2]))


main()
