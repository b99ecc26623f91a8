"""Becomes another program, which on Linux ends as soon as the process that started it does.

A cell must not outlive its benchmark, even when that is killed. `subprocess` can ask for this in
the child between fork and exec, but not safely from a process with threads. So this small program
asks for it, and then is replaced by the one that its arguments name.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    parent, *command = sys.argv[1:]
    # Killing a cell loses nothing that is not done again: its files are never half written.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # it ended before it was asked
        os.kill(os.getpid(), signal.SIGKILL)
    os.execvp(command[0], command)
