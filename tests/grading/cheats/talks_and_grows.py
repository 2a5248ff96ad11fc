"""Never is quiet, and lets threads fork: whoever looks only in a pause, or at one thread's children, sees nothing."""

import os
import threading
import time


def fork():
    for _ in range(12):
        if os.fork() == 0:
            held = bytearray(b"x") * (300 << 20)
            time.sleep(60)
            os._exit(len(held) and 0)


threading.Thread(target=fork).start()
while True:
    print(".", flush=True)
    time.sleep(0.001)
