"""Gives the channel to a child and ends: whoever waits for the end of the connection waits for the child."""

import os
import threading

if os.fork() == 0:
    threading.Event().wait()
os._exit(0)
